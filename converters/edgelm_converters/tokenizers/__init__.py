"""Published tokenizers that are not tokenizer.json, written as one that needs no code and no network.

    gguf.py             write_gguf_tokenizer: a GGUF file's metadata
    sentencepiece.py    write_sentencepiece_tokenizer: tokenizer.model, sentencepiece's or tiktoken's
    metadata.py         typed, checked access to GGUF key-values
    vocabulary.py       tokens, their types and scores; which of them are matched whole in text
    pretokenizers.py    how each named byte-level tokenizer splits text into words
    byte_level.py       vocabulary and merges → byte-level BPE
    spm.py              vocabulary and scores → sentencepiece's BPE and unigram
    merges.py           the merges that scores or ranks imply
    charsmap.py         sentencepiece's compiled normalization, checked before Rust trusts it
    tiktoken.py         rank files
    special.py          BOS, EOS and their like; the post-processor
    write.py            tokenizer.json, tokenizer_config.json, chat_template.jinja

Knows nothing of tensors or of config.json. Files are written plainly: atomicity is the caller's.
"""

from __future__ import annotations

from edgelm_converters.tokenizers.gguf import write_gguf_tokenizer
from edgelm_converters.tokenizers.sentencepiece import write_sentencepiece_tokenizer

__all__ = ["write_gguf_tokenizer", "write_sentencepiece_tokenizer"]
