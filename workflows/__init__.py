"""Nipype: who runs before whom, and where."""
