"""What a file says of its tokenizer, read back as edgelm reads files, against the tokenizer it was made of."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelm.errors import UnsupportedError
from edgelm_converters.targets.gguf.tokenizer.published import PublishedTokenizer
from edgelm_converters.tokenizers.algorithms.pretokenizers import SPLITTERS
from edgelm_converters.tokenizers.formats.gguf import ADD_PREFIX, PRE, write_gguf_tokenizer


def differing(
    values: Mapping[str, Any], published: PublishedTokenizer, samples: Sequence[str], source: str
) -> list[str] | None:
    """Return the samples that the file's tokenizer encodes otherwise than `published`.

    None where llama.cpp's pre-tokenizer is none that edgelm can split by, so that nobody here can tell.

    Raises:
        UnsupportedError: the key-values make no tokenizer.
    """
    pre = values.get(PRE)
    if pre is not None and pre not in SPLITTERS and values["tokenizer.ggml.model"] == "gpt2":
        return None
    from tokenizers import Tokenizer

    with tempfile.TemporaryDirectory(prefix="edgelm-tokenizer-") as name:
        write_gguf_tokenizer(values, Path(name), origin=Path(source))
        again = Tokenizer.from_file(str(Path(name) / "tokenizer.json"))
    return [
        text for text in samples if again.encode(text, add_special_tokens=False).ids != published.encode(text)
    ]


def check_agreement(
    values: Mapping[str, Any], published: PublishedTokenizer, samples: Sequence[str], source: str
) -> tuple[str, ...]:
    """Refuse a tokenizer of which the file would make another; returns what is to be told.

    transformers puts no space before a text that begins with one, where sentencepiece and llama.cpp do: that is told.

    Raises:
        UnsupportedError: a sample is encoded otherwise.
    """
    found = differing(values, published, samples, source)
    if found is None:
        return (f"edgelm does not split text as {values[PRE]!r} does: tokens were not compared",)
    others = [text for text in found if not (values.get(ADD_PREFIX) and text.startswith(" "))]
    if others:
        raise UnsupportedError(
            f"the tokenizer of {source} cannot be said in GGUF: {others[0][:60]!r} would be encoded otherwise"
            f" ({len(others)} of {len(samples)} samples)",
            hint="llama.cpp would cut text otherwise than the model was trained on; edgelm itself runs it as it is",
        )
    if found:
        return (
            "llama.cpp puts a space before texts that begin with one, as sentencepiece does and transformers does not",
        )
    return ()
