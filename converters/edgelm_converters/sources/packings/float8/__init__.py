"""8- and 4-bit floats with scales: FP8 in every layout, MXFP8, NVFP4 and MXFP4."""
