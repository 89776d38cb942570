"""Programs that show what Antiphon does; each runs from this folder's parent with `python -m`."""
