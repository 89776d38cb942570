"""Tells customers how their orders are getting on."""
