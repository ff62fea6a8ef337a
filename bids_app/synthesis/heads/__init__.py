"""Anatomy of synthetic heads: label maps, templates, solids."""
