"""From files and datasets to rows as they were written, each with its line; broken ones become problems."""
