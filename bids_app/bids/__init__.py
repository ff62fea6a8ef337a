"""Files by their BIDS names."""
