"""Knows what is on the shelves, sets it aside, and puts it back."""
