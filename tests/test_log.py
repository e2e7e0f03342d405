"""Warnings of other libraries: those that are known to mean nothing are not shown, all others are."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from checkpoints import write_tokenizer

from edgelm import log

LONG = "Token indices sequence length is longer than the specified maximum sequence length for this model (9 > 4)."


@pytest.fixture
def records() -> Iterator[list[str]]:
    """What reaches the handlers of transformers' and huggingface_hub's loggers."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in ("transformers", "huggingface_hub")]
    for logger in loggers:
        logger.addHandler(handler)
    yield found
    for logger in loggers:
        logger.removeHandler(handler)


@pytest.mark.parametrize(
    ("logger", "message"),
    [
        ("transformers.tokenization_utils_base", LONG),
        ("transformers", "PyTorch was not found. Models won't be available."),
        ("huggingface_hub.utils._http", "You are sending unauthenticated requests to the HF Hub."),
    ],
)
def test_what_is_known_is_silenced_by_logger_and_message(
    logger: str, message: str, records: list[str]
) -> None:
    log.silence_known()
    log.silence_known()
    logging.getLogger(logger).warning(message)
    assert records == []
    logging.getLogger(logger).warning("something else")
    logging.getLogger(f"{logger}.other").warning(message)
    assert records == ["something else", message]


def test_debug_shows_everything(records: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log.logger, "level", logging.DEBUG)
    monkeypatch.setattr(log.logger, "_cache", {})
    log.silence_known()
    logging.getLogger("transformers.tokenization_utils_base").warning(LONG)
    assert records == [LONG]


def test_a_text_longer_than_the_tokenizers_maximum_is_read_without_a_word(
    records: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    import transformers

    from edgelm.model.load import load_tokenizer

    directory = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(directory)
    text = "water on the mountain " * 20
    alarming = transformers.AutoTokenizer.from_pretrained(directory, model_max_length=4)
    filters, logger = [], logging.getLogger("transformers.tokenization_utils_base")
    filters, logger.filters = logger.filters, []
    alarming(text)
    assert any(message.startswith("Token indices") for message in records)  # transformers still says it so
    logger.filters = filters
    records.clear()
    tokenizer = load_tokenizer(directory, {"model_type": "llama"})
    tokenizer._tokenizer.model_max_length = 4
    assert len(tokenizer.encode(text)) > 4
    assert records == []
