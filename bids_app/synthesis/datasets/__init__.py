"""Synthetic people as BIDS datasets with known truth."""
