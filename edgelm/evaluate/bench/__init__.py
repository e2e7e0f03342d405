"""Speed of a loaded model, beside itself without a feature and beside mlx-lm, in one run."""
