"""Measuring model directories: perplexity on a text, and what lies between a model and a reference.

The reference is loaded, run and let go before the model is loaded: only its final hidden states and its head
stay, so two models never share the memory.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm import corpus
from edgelm.adapters.use import AdapterUse
from edgelm.errors import FormatError, NotFoundError, PromptError, UnsupportedError
from edgelm.evaluate.compare import Comparison, Quality, compare, measure
from edgelm.evaluate.reference import Reference
from edgelm.evaluate.rows import Measuring, Row, held_out_rows, text_rows
from edgelm.machine.long_job import long_job
from edgelm.model.load import LoadedModel, load
from edgelm.paths import visible_files
from edgelm.progress import OnProgress, ignore_progress

SHIPPED = "shipped held-out text"

_TOKENIZER_SAMPLE = (
    "Straße 12, naïve café: 3.14 ≤ π!\n\tdef f(x): return x  # 日本語 مرحبا\n\n<|im_start|>user"
)


Texts = Sequence[tuple[str, str]]
"""(name, text) pairs."""


@dataclass(frozen=True)
class Subject:
    """A model directory, and what adapters to apply to it."""

    directory: Path
    adapter: Path | Sequence[AdapterUse] | None = None
    check_fit: bool = True

    @property
    def name(self) -> str:
        """The name that is shown: the directory's, and the adapters'."""
        uses = [AdapterUse(self.adapter)] if isinstance(self.adapter, Path) else self.adapter or ()
        return " + ".join([self.directory.absolute().name, *map(str, uses)])

    def load(self) -> LoadedModel:
        """Return the network and its tokenizer; for errors see `edgelm.model.load`."""
        return load(self.directory, adapter=self.adapter, check_fit=self.check_fit)


@dataclass(frozen=True)
class Evaluated:
    """The quality of a model, with what it was measured on."""

    model: str
    reference: str | None
    text: str
    length: int
    size_bytes: int
    """The size of the model's parameters in memory."""
    quality: Quality
    """A `Comparison` where there is a reference."""
    peak_memory_bytes: int
    """The peak of MLX's arrays."""


@long_job("the evaluation", "shorter rows")
def evaluate(
    model: Subject,
    *,
    reference: Subject | None = None,
    text: Path | None = None,
    measuring: Measuring | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Evaluated:
    """Measure `model`, on the thread that calls.

    Args:
        reference: also say how far the model is from this one.
        text: a file, or a directory of .txt and .md files; None is the shipped held-out text.

    Raises:
        NotFoundError, FormatError, UnsafeError, UnsupportedError, FitError: about a model, its adapter or the text.
        UnsupportedError: the models have different tokenizers.
        PromptError: rows are longer than a model's context.
        OptionError: more text was asked for than there is.
    """
    measuring = measuring or Measuring()
    texts = read_texts(text) if text is not None else None
    mx.reset_peak_memory()
    if reference is None:
        loaded = model.load()
        quality: Quality = measure(loaded.network, _rows(loaded, texts, measuring), on_progress=on_progress)
    else:
        kept, tokenizer = _run_reference(reference, texts, measuring, on_progress)
        with kept:
            loaded = model.load()
            check_same_tokenizer(loaded.tokenizer, tokenizer, model.name, reference.name)
            _check_context(loaded, measuring.length)
            quality = compare(kept, loaded.network, on_progress=on_progress)
    return Evaluated(
        model=model.name,
        reference=reference.name if reference is not None else None,
        text=SHIPPED if text is None else str(text),
        length=measuring.length,
        size_bytes=loaded.size_bytes,
        quality=quality,
        peak_memory_bytes=mx.get_peak_memory(),
    )


def _run_reference(
    reference: Subject, texts: Texts | None, measuring: Measuring, on_progress: OnProgress
) -> tuple[Reference, Any]:
    """What is kept of a reference that was run, and its tokenizer; its network is let go."""
    loaded = reference.load()
    kept = Reference(loaded.network, _rows(loaded, texts, measuring), on_progress=on_progress)
    tokenizer = loaded.tokenizer
    del loaded
    gc.collect()  # networks hold cycles
    mx.clear_cache()
    return kept, tokenizer


def _rows(loaded: LoadedModel, texts: Texts | None, measuring: Measuring) -> list[Row]:
    _check_context(loaded, measuring.length)
    if texts is None:
        return held_out_rows(loaded.tokenizer, measuring)
    return text_rows(loaded.tokenizer, texts, measuring)


def _check_context(loaded: LoadedModel, length: int) -> None:
    if loaded.context_length is not None and length > loaded.context_length:
        raise PromptError(
            f"rows of {length} tokens exceed the context of {loaded.name}, {loaded.context_length} tokens",
            hint="give a smaller --length",
        )


def check_same_tokenizer(tokenizer: Any, reference: Any, name: str, reference_name: str) -> None:
    """Refuse models whose tokens mean different things: neither KL nor perplexity could be compared.

    Raises:
        UnsupportedError: with a piece of text that they split differently.
    """
    if tokenizer.get_vocab() == reference.get_vocab():
        return
    for text in (_TOKENIZER_SAMPLE, *corpus.held_out().values()):
        mine, theirs = (each.encode(text, add_special_tokens=False) for each in (tokenizer, reference))
        if mine != theirs:
            at = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), 0)
            raise UnsupportedError(
                f"{name} and {reference_name} have different tokenizers: token {at} of a sample is"
                f" {_told(tokenizer, mine, at)} in one and {_told(reference, theirs, at)} in the other",
                hint="compare models of the same family, or measure the perplexity of each alone",
            )


def _told(tokenizer: Any, ids: Sequence[int], at: int) -> str:
    return f"{ids[at]} ({tokenizer.decode([ids[at]])!r})" if at < len(ids) else "absent"


def read_texts(path: Path) -> list[tuple[str, str]]:
    """Return the text of a file, or of each .txt and .md file of a directory, by name.

    Raises:
        NotFoundError: there is no such path, or no text file in it.
        FormatError: a file is not UTF-8 text, or they are all empty.
    """
    if not path.exists():
        raise NotFoundError(f"{path} does not exist, expected a text file or a directory of them")
    files = (
        [path] if path.is_file() else [item for item in visible_files(path) if item.suffix in (".txt", ".md")]
    )
    if not files:
        raise NotFoundError(f"{path} holds no .txt or .md file")
    texts = [(file.name, _read(file)) for file in files]
    if not any(text.strip() for _, text in texts):
        raise FormatError(f"{path} is empty, expected text to measure on")
    return [(name, text) for name, text in texts if text.strip()]


def _read(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{file} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}"
        ) from error
    except OSError as error:
        raise NotFoundError(f"{file} cannot be read: {error.strerror or error}") from error
    if "\0" in text:
        raise FormatError(f"{file} is not text: it holds a NUL character")
    return text


def comparison_of(evaluated: Evaluated) -> Comparison | None:
    """Return the comparison with the reference, None if there was none."""
    return evaluated.quality if isinstance(evaluated.quality, Comparison) else None
