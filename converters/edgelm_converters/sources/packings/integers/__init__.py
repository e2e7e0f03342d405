"""Integer codes with scales and zero points: what MLX's affine quantization holds code for code, and what it does not."""
