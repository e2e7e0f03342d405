"""Configs made unambiguous for mlx-lm: normalised, completed by transformers' defaults, refused where something is not read."""
