"""Quantizing every layer from what calibration text does in it."""
