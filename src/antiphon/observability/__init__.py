"""How a running service is seen: metrics, hooks, logs, and what is being handled right now."""
