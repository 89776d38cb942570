"""Where customers order and goods come in: it begins every story and reacts to nothing."""
