"""What goes in, on which grid, and what comes out."""
