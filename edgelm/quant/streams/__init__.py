"""Running a network layer by layer: hidden states travel in named streams.

walk.py         the layers of a network, run one at a time
activations.py  hidden states, in memory or on disk
taps.py         what reaches each quantizable module
"""
