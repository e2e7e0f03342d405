"""The shipped text: what it holds, and that nothing was calibrated on what is measured."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from edgelm import corpus

PASSAGE = 60
"""Characters, about 12 words."""


def passages(text: str) -> Iterator[str]:
    """Every run of PASSAGE characters, however the lines are broken."""
    flat = re.sub(r"\s+", " ", text)
    return (flat[at : at + PASSAGE] for at in range(len(flat) - PASSAGE + 1))


def test_calibration_and_held_out_share_no_passage() -> None:
    seen = set(passages(corpus.calibration_text()))
    for domain, text in corpus.held_out().items():
        shared = [passage for passage in passages(text) if passage in seen]
        assert not shared, (domain, shared[:3])


def test_a_shared_passage_would_be_found() -> None:
    lent = corpus.documents("calibration", "prose")[2][100:200]
    assert set(passages(corpus.calibration_text())) & set(passages(lent.replace(" ", "\n")))


def test_sizes_are_what_calibration_and_measuring_need() -> None:
    held_out = corpus.held_out()
    assert 150_000 <= len(corpus.calibration_text().encode()) <= 250_000
    assert 60_000 <= sum(len(text.encode()) for text in held_out.values()) <= 100_000
    assert tuple(held_out) == corpus.DOMAINS
    assert min(len(text) for text in held_out.values()) > 3_000


@pytest.mark.parametrize("domain", corpus.DOMAINS)
@pytest.mark.parametrize("part", ["calibration", "held_out"])
def test_documents_are_text_of_some_length(part: corpus.text.Part, domain: str) -> None:
    documents = corpus.documents(part, domain)
    assert len(documents) >= 3
    for text in documents:
        assert len(text) > 60
        assert text == text.strip("\n")
        assert "\f" not in text
        assert "\ufffd" not in text


def test_a_stretch_of_calibration_text_is_mixed() -> None:
    """A caller that takes only the beginning still calibrates on every domain."""
    beginning = corpus.calibration_text()[:60_000]
    for domain in corpus.DOMAINS:
        assert corpus.documents("calibration", domain)[0] in beginning


def test_conversations_are_turns_of_user_and_assistant() -> None:
    for part in ("calibration", "held_out"):
        for messages in corpus.conversations(part):
            roles = [message["role"] for message in messages]
            assert roles == ["user", "assistant"] * (len(roles) // 2)
            assert all(message["content"].strip() for message in messages)
    assert corpus.conversations("held_out")[2][0]["content"].startswith("Write a product description")


def test_the_text_is_read_without_heavy_imports() -> None:
    code = (
        "import sys; from edgelm import corpus; corpus.calibration_text();"
        "assert not {'mlx', 'numpy', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
