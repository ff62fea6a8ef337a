"""A trained recipe on disk: read, write, export."""
