"""What a config asks for and mlx-lm's architecture computes otherwise, put right on the built network."""
