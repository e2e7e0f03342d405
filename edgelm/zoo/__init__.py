"""The zoo of architectures: the one door to mlx_lm. Configs made unambiguous for it, its networks built and filled, and
what its code leaves out put right (`fixes/`).
"""

from edgelm.blas import preload_blas

preload_blas()
