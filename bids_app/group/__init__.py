"""Tables over everybody."""
