"""Runs llama.cpp's convert_hf_to_gguf.py for every line of JSON on the standard input; answers each with a line.

A line is {"arguments": [flags], "pre": name}. What the converter prints goes to the standard error.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path


def main() -> None:
    tree = Path(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path[:0] = [str(tree), str(tree / "gguf-py")]
    logging.disable(logging.WARNING)
    import conversion.base
    import convert_hf_to_gguf
    import torch
    from conversion import TextModel

    auto_config = conversion.base.AutoConfig

    torch.set_num_threads(1)
    for line in sys.stdin:
        job = json.loads(line)
        # The converter tells a pre-tokenizer by the hash of what a published tokenizer makes of a text.
        TextModel.get_vocab_base_pre = lambda self, tokenizer, pre=job["pre"]: pre
        conversion.base.AutoConfig = Unknown if job["as_published"] else auto_config
        sys.argv = ["convert_hf_to_gguf.py", *job["arguments"]]
        answers.write(json.dumps({"error": run(convert_hf_to_gguf.main)}) + "\n")
        answers.flush()


class Unknown:
    """A transformers that does not know the model, so that the converter reads config.json as it was published.

    The converter is made for transformers 4.57, which keeps keys that transformers 5 renames as it reads them.
    """

    @staticmethod
    def from_pretrained(*_: object, **__: object) -> object:
        raise ValueError("as published")


def run(convert: Callable[[], None]) -> str:
    """Run one conversion; returns what went wrong, or nothing."""
    try:
        convert()
    except SystemExit as stop:
        return f"convert_hf_to_gguf.py ended with {stop.code}" if stop.code else ""
    except Exception:  # noqa: BLE001 - whatever happens is handed to the test
        return traceback.format_exc()
    return ""


if __name__ == "__main__":
    main()
