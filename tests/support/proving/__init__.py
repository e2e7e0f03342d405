"""Tiny networks of every architecture that transformers and mlx-lm both have, and what proves them equal."""
