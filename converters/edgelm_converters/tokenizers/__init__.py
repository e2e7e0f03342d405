"""Published tokenizers that are not tokenizer.json, written as one that needs no code and no network.

    formats/      readers: gguf (`write_gguf_tokenizer`), sentencepiece (`write_sentencepiece_tokenizer`: tokenizer.model,
                  sentencepiece's or tiktoken's), tiktoken (rank files), charsmap (compiled normalization, checked first)
    algorithms/   byte_level (vocabulary and merges → byte-level BPE), pretokenizers (how each named one splits words),
                  spm (vocabulary and scores → sentencepiece's BPE and unigram), merges (those that scores imply)
    metadata.py   typed, checked access to GGUF key-values
    vocabulary.py tokens, their types and scores; which of them are matched whole in text
    control.py    the tokens that steer a chat
    special.py    BOS, EOS and their like; the post-processor
    write.py      tokenizer.json, tokenizer_config.json, chat_template.jinja

Knows nothing of tensors or of config.json. Files are written plainly: atomicity is the caller's.
"""
