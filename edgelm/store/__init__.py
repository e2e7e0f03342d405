"""What edgelm remembers between runs, in one SQLite file: `database.py` opens it, each other file owns its tables."""
