"""What lies beside a bare tokenizer.model is part of the tokenizer: ids and texts are those of transformers."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from edgelm.errors import FormatError
from edgelm_converters.sources.huggingface.tokenizer_files import built_note, write_tokenizer_files

LLAMA = {"tokenizer_class": "LlamaTokenizer"}
TEXTS = [
    "<|im_start|>user\nHello the water<|im_end|>\n<|im_start|>assistant\n", "the dog", "<s>a</s>", " lead", "<|im_end|>",
    "a<|im_end|> b <tool> c<tool>d", "tab\tand\n\nblank  line", "Grüße 你好 🤖", "",
]  # fmt: skip


@pytest.fixture(scope="module")
def model() -> tuple[bytes, int]:
    """A sentencepiece model, and how many pieces it has."""
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    out = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(["the water on the mountain boils at a lower temperature, user", "a dog"] * 4),
        model_writer=out, vocab_size=320, hard_vocab_limit=False, minloglevel=3, num_threads=1, model_type="bpe",
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
    )  # fmt: skip
    return out.getvalue(), SentencePieceProcessor(model_proto=out.getvalue()).get_piece_size()


def added(first: int) -> dict[str, int]:
    return {"<|im_start|>": first, "<|im_end|>": first + 1, "<tool>": first + 2}


def roles() -> dict[str, Any]:
    return {
        "eos_token": "<|im_end|>", "bos_token": "<s>", "unk_token": "<unk>", "pad_token": "<|im_end|>",
        "additional_special_tokens": ["<|im_start|>"],
    }  # fmt: skip


def decoder(first: int) -> dict[str, Any]:
    plain = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    return {
        "0": {"content": "<unk>", "special": True, **plain},
        "1": {"content": "<s>", "special": True, **plain},
        "2": {"content": "</s>", "special": True, **plain},
        str(first): {"content": "<|im_start|>", "special": True, **plain},
        str(first + 1): {"content": "<|im_end|>", "special": True, **plain, "rstrip": True},
        str(first + 2): {"content": "<tool>", "special": False, **plain, "normalized": True},
    }


def sidecars(case: str, first: int) -> dict[str, Any]:
    """File name → content."""
    files = {"added_tokens.json": added(first), "special_tokens_map.json": roles()}
    return {
        "added tokens": {"tokenizer_config.json": LLAMA, "added_tokens.json": added(first)},
        "no config": files,
        "roles": {
            **files,
            "tokenizer_config.json": {**LLAMA, "model_max_length": 777, "padding_side": "left"},
        },
        "not legacy": {**files, "tokenizer_config.json": {**LLAMA, "legacy": False}},
        "legacy": {**files, "tokenizer_config.json": {**LLAMA, "legacy": True}},
        "bos and eos": {
            **files,
            "tokenizer_config.json": {**LLAMA, "add_bos_token": True, "add_eos_token": True},
        },
        "decoder": {"tokenizer_config.json": {**LLAMA, **roles(), "added_tokens_decoder": decoder(first)}},
        "another class": {**files, "tokenizer_config.json": {"tokenizer_class": "GemmaTokenizer"}},
    }[case]


CASES = (
    "added tokens",
    "no config",
    "roles",
    "not legacy",
    "legacy",
    "bos and eos",
    "decoder",
    "another class",
)


@pytest.mark.parity
@pytest.mark.parametrize("case", CASES)
def test_a_rebuilt_tokenizer_is_what_transformers_makes_of_all_the_files(
    case: str, model: tuple[bytes, int], tmp_path: Path
) -> None:
    source, made = tmp_path / "[source]", tmp_path / "made"
    source.mkdir()
    made.mkdir()
    (source / "tokenizer.model").write_bytes(model[0])
    (source / "._tokenizer.model").write_bytes(b"\0\5\x16\7")
    (source / "chat_template.jinja").write_text("{{ messages[0].content }}")
    for name, content in sidecars(case, model[1]).items():
        (source / name).write_text(json.dumps(content))
    write_tokenizer_files(source, made)
    for directory in (source, made):
        (directory / "config.json").write_text(json.dumps({"model_type": "llama"}))
    theirs, ours = AutoTokenizer.from_pretrained(source), AutoTokenizer.from_pretrained(made)
    for text in TEXTS:
        ids = theirs.encode(text)
        assert ours.encode(text) == ids, text
        for skip in (False, True):
            assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip)
    assert theirs.encode("<|im_end|>", add_special_tokens=False) == [model[1] + 1]
    for name in ("special_tokens_map", "model_max_length", "padding_side", "chat_template"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert "built from tokenizer.model, with " in (built_note(source, made) or "")
    assert not list(made.glob(".*"))


def test_a_tokenizer_that_is_copied_keeps_all_its_files(tmp_path: Path) -> None:
    source, made = tmp_path / "source", tmp_path / "made"
    source.mkdir()
    made.mkdir()
    names = (
        "vocab.json",
        "merges.txt",
        "added_tokens.json",
        "special_tokens_map.json",
        "tokenizer_config.json",
        "LICENSE.txt",
    )
    for name in names:
        (source / name).write_text("{}")
    (source / "additional_chat_templates").mkdir()
    (source / "additional_chat_templates" / "tool_use.jinja").write_text("x")
    (source / "code.py").write_text("raise SystemExit")
    write_tokenizer_files(source, made)
    assert {path.name for path in made.iterdir()} == {*names, "additional_chat_templates"}
    assert (made / "additional_chat_templates" / "tool_use.jinja").read_text() == "x"
    assert built_note(source, made) is None


def test_a_broken_sidecar_is_named(model: tuple[bytes, int], tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "tokenizer.model").write_bytes(model[0])
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(FormatError, match=str(tmp_path)):
        write_tokenizer_files(tmp_path, tmp_path / "made")
