"""Readers of published tokenizers: one module for each kind of file."""
