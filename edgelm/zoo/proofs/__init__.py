"""What was proved about mlx-lm's architectures: a table made by `tests/architectures/prove.py`, and how it is read."""
