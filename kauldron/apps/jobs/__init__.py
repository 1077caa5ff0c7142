"""Jobs of a server: a table that survives, one process each, one device each."""
