"""What a model does, measured: its speed (`bench/`) and its quality, alone or beside a reference."""

from edgelm.blas import preload_blas

preload_blas()
