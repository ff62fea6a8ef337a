"""From a scan to regions and answers."""
