"""A number of bytes into a width for every tensor.

amount.py         what is asked for, in bytes
sensitivities.py  what each tensor adds to the divergence, measured once and kept
choose.py         the widths that the bytes are spent on
as_stored.py      tensors that arrive quantized and may stay so
"""
