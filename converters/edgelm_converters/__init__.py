"""Weights in and out: sources, names, the streaming writer, verification."""

from edgelm.blas import preload_blas

preload_blas()
