"""The training loop, and what decides how it goes."""
