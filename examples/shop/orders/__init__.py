"""Keeps every order and says what state it is in."""
