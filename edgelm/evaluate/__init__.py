"""What a model does, measured: speed (bench, probe); quality comes here too."""

from edgelm.blas import preload_blas

preload_blas()
