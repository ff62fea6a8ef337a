"""Training, bundles and prediction."""
