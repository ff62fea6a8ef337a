"""Images drawn from label maps, and phantom datasets."""
