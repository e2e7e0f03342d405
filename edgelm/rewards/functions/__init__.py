"""Rewards that are Python functions: of a file, in a process of their own, or handed over in Python."""
