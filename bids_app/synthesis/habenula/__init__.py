"""Training scans of the habenula."""
