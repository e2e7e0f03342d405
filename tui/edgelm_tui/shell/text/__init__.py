"""Texts that are not ours, made harmless, and paths as people read them."""
