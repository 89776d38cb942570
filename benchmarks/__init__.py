"""What it costs, measured against the same work by hand and against the peer a user would pick."""
