"""Which half precision a model can run in."""
