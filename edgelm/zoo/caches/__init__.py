"""KV caches of mlx-lm: their settings, how they are made, how large they grow, and what can be done with one layer's."""
