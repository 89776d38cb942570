"""Sets money aside, takes it, and gives it back."""
