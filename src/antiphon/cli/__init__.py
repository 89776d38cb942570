"""The command line: everything that can be seen or done to services, topics, groups and dead letters."""
