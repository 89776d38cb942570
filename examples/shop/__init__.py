"""A shop of six services that take real orders through payment, stock and shipping, and then audit themselves."""
