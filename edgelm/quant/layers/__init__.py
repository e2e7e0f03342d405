"""Quantizing, or measuring, every layer of a network from what calibration text does in it."""
