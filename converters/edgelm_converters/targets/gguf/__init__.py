"""GGUF files written.

    framing.py   the format: header, key-values, tensors a slice at a time; one file or several
    layout.py    a network's tensors → the stored ones, by the rules of its family
    choice.py    the type that each tensor is stored as
    blocks/      values and packed groups → ggml's blocks
    metadata/    a config → the keys of its family, rope factors, what is said of the whole
    tokenizer/   tokenizer.json → tokens, scores, merges and the name of the pre-tokenizer

`gguf.GGUFWriter` is not used: it wants whole tensors, keeps them until it writes, and says nothing of a full disk.
"""
