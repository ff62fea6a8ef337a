"""Tandem: a BIDS App that segments brain MRI and learns participant-level targets in tandem."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("tandem-mri")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0.1.0"
