"""Resting-state BOLD with known truth."""
