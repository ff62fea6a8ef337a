"""A session's images on a recipe's grid, and tiles of them: what training and prediction share."""
