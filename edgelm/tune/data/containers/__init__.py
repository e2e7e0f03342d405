"""Rows out of tables: what a container added to them is taken off, what a row says is kept."""
