"""Quantizing, or measuring, every layer of a network from what calibration text does in it.

layerwise.py    what all passes share
weighted.py     quality "good"
sequential.py   quality "best"
moments.py      sums over what meets a weight
sensitivity.py  what quantizing one tensor costs; measure.py measures it
"""
