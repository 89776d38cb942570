"""Weighs, packs and sends; some parcels cannot be delivered."""
