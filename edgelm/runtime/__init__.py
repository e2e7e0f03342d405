"""The way from token ids to tokens, and from messages to text. Owns sampling, caches and the engine thread."""

from edgelm.blas import preload_blas

preload_blas()
