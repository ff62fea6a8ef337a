"""Who is there to learn from: sessions, labels, targets, folds."""
