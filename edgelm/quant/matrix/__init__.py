"""One weight matrix into codes and scales.

affine.py     the affine format and MLX's bit packing
search.py     the best scale and bias of every group
curvature.py  the Hessian that GPTQ measures errors by
gptq.py       codes chosen column by column under that Hessian
formats.py    rounding, searching and unpacking in any of MLX's formats
"""
