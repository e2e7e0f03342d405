"""One model: described before it is fetched, or loaded with its tokenizer and adapters if it fits."""

from edgelm.blas import preload_blas

preload_blas()
