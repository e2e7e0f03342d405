"""Codes that stand for values of a table: MLX has no such form, so these are presented by their values."""
