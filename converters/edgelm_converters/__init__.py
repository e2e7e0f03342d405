"""Weights in and out: sources, names, the streaming writer, verification."""

from edgelm.blas import preload_blas
from edgelm.machine.precision import full_float32

preload_blas()
full_float32()
