"""ITK listens to its number of threads once per process: one, so that registrations repeat exactly."""

from bids_app.imaging.transforms import set_threads

set_threads(1)
