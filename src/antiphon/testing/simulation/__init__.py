"""The parts of the simulator: time, what goes wrong, what is noted, and what is held against it."""
