"""How services move from a log to another broker: what their groups have not read, and where they stand."""
