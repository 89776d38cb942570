"""Counts what was sold on which day: a read model, which can be thrown away and read again from the log."""
