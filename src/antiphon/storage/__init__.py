"""Where things rest: databases and transactions, migrations, and the tables that every store of ours has."""
