"""Thin Nipype interfaces over bids_app."""
