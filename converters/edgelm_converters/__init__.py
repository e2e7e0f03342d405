"""Weights in and out: sources, names, the streaming writer, verification."""

from edgelm.device import preload_blas

preload_blas()
