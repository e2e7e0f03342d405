"""One saved conversation, for whatever talks to a model. Knows no widget, no flag and no MLX."""
