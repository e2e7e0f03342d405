"""A training run on the disk: its layout, its log, its status, and orders to it. Knows no MLX."""
