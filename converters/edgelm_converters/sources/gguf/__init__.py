"""llama.cpp's GGUF files as checkpoints: config, tensors and tokenizer from one file.

    cursor.py      one bounded step through a header
    reader.py      header → metadata (plain Python values) and where each tensor lies
    parts.py       one file, or all the files of a split one
    families/      what each family of models calls its tensors, does to their values and says of itself
    names.py       stored tensors → the network's, by the rules of its family
    rope.py        position settings, recovered from metadata and factor tensors
    metadata.py    typed reads of metadata
    config.py      metadata → a transformers config.json
    generation.py  tokens that begin and end an answer
    blocks.py      ggml's quantized blocks → codes, scales and biases
    gathered.py    rows of stored tensors in an order, read a slice at a time
    tensors.py     those rows → lazy tensors
    checkpoint.py  open_gguf: all of it together

`gguf` supplies constants and the dequantizer of the types MLX cannot hold. Its GGUFReader is not used:
it builds several numpy views per token (4.5 s for a vocabulary of 49k), and trusts every count in the file.
"""
