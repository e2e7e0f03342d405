"""The tokenization algorithms that tokenizer.json can hold: byte-level BPE, sentencepiece's BPE and unigram."""
