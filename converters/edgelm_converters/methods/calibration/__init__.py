"""Quantizing every layer from what calibration text does in it.

run.py     a calibrated conversion from its text to finished layers on disk
layers.py  the passes over the layers, each finished part kept at once
"""
