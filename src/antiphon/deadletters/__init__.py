"""What can be done with dead letters: look through, edit, redrive, drop, wherever the broker keeps them."""
