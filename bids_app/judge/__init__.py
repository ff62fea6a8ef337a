"""Evaluation, calibration, comparison, statistics."""
