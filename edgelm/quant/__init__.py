"""How weights are quantized: schemes, recipes, and applying them one layer at a time."""

from edgelm.blas import preload_blas

preload_blas()
