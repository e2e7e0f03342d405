"""A tokenizer as GGUF has it.

published.py   the tokenizer that transformers makes of a model's files, as one JSON object and a few facts
tokens.py      what each id spells, what type it is; scores
pre.py         llama.cpp's name of how text is split into words
metadata.py    all of it as key-values
agreement.py   the same, read back, on samples of text
pre_tokenizers.json   llama.cpp's table: hash of the token ids of a text → name
"""
