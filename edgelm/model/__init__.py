"""Models on disk and in memory: the library, the manifest, whether one fits, and the one door to mlx_lm."""

from edgelm.blas import preload_blas

preload_blas()
