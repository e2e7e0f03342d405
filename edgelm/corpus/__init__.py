"""Text that ships with edgelm: some to calibrate quantization on, other text to measure what it cost.

    calibration_text()            # all of it, domains mixed
    held_out()["code"]            # one domain of the held-out text; shares no long passage with the above
    token_rows(tokenizer, calibration_text(), tokens=24_576, length=512, seed=0)

Six domains (prose, dialogue, documentation, code, maths, languages), each a file of documents; sources and
licences stand in `data/README.md`. Knows nothing of models; of a tokenizer, only that it turns text into ids.
"""

from edgelm.corpus.rows import leading_tokens, sample_rows, token_rows
from edgelm.corpus.text import DOMAINS, calibration_text, conversations, documents, held_out

__all__ = [
    "DOMAINS",
    "calibration_text",
    "conversations",
    "documents",
    "held_out",
    "leading_tokens",
    "sample_rows",
    "token_rows",
]
