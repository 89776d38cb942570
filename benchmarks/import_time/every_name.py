"""Asks the front door for everything it has."""

import antiphon

for name in antiphon.__all__:
    getattr(antiphon, name)
