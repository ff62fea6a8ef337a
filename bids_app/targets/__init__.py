"""What a kind of participant-level target means: one object per kind."""
