"""From tissue to the image that a scanner gives."""
