"""Codes that stand for evenly spaced values: MLX's affine form, code for code, wherever groups run along the inputs."""
