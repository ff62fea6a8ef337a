"""Numbers from masks and probabilities."""
