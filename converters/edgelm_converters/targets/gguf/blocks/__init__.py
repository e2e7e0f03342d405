"""Values and packed groups as ggml's blocks.

codes.py     codes out of MLX's bit streams, and into ggml's nibbles
repack.py    groups of MLX's formats, moved bit for bit
searched.py  values → Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL: scales searched for the least weighted error
registry.py  encoders by type, and decoding, for measuring what was lost
"""
