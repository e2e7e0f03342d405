"""Files and datasets become rows as they were written, each with its line; broken ones become problems."""
