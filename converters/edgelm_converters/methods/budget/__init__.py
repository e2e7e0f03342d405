"""A number of bytes into a width for every tensor."""
