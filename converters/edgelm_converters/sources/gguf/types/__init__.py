"""ggml's tensor types: their blocks, what MLX has the form of, and what the others become."""
