"""Adapters on a loaded network: their files, the base they belong to, several at once, switched while it lives."""

from edgelm.blas import preload_blas

preload_blas()
