"""llama.cpp's GGUF files as checkpoints: config, tensors and tokenizer from one file.

    cursor.py      one bounded step through a header
    reader.py      header → metadata (plain Python values) and where each tensor lies
    parts.py       one file, or all the files of a split one
    names.py       tensor names and shapes per architecture
    rope.py        position settings, recovered from metadata and factor tensors
    metadata.py    typed reads of metadata
    config.py      metadata → a transformers config.json; variants.py what each architecture adds
    generation.py  tokens that begin and end an answer
    blocks.py      ggml's quantized blocks → codes, scales and biases
    tensors.py     stored tensor → lazy tensors, a slice of rows at a time
    checkpoint.py  open_gguf: all of it together

`gguf` supplies constants and the dequantizer of the types MLX cannot hold. Its GGUFReader is not used:
it builds several numpy views per token (4.5 s for a vocabulary of 49k), and trusts every count in the file.
"""
