"""Measuring directories: what is loaded, what is refused, and that adapters and quantization are seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from checkpoints import write_checkpoint

from edgelm.errors import FormatError, NotFoundError, OptionError, PromptError, UnsupportedError
from edgelm.evaluate.quality import SHIPPED, Subject, comparison_of, evaluate, read_texts
from edgelm.evaluate.rows import Measuring

MEASURING = Measuring(tokens=600, length=64)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny qwen3 in float32."""
    directory = tmp_path_factory.mktemp("models") / "tiny"
    write_checkpoint(directory, "qwen3", tie_word_embeddings=True)
    return directory


@pytest.fixture(scope="module")
def quantized(source: Path) -> Path:
    """The same, rounded to 4 bits."""
    from edgelm_converters.convert import convert

    directory = source.parent / "tiny-4bit"
    return convert(source, directory, quality="rtn", bits=4, group_size=32, dtype="float32").directory


@pytest.mark.slow
def test_the_loss_of_a_quantized_model(source: Path, quantized: Path) -> None:
    found = evaluate(Subject(quantized), reference=Subject(source), measuring=MEASURING)
    comparison = comparison_of(found)
    assert comparison is not None
    assert (found.model, found.reference, found.text) == ("tiny-4bit", "tiny", SHIPPED)
    assert comparison.rows == 9
    assert comparison.tokens == 9 * 63
    assert 0.001 < comparison.mean_kl.value < 1
    assert comparison.mean_kl.value < comparison.p99_kl.value
    assert 0.3 < comparison.top1_agreement.value < 1
    assert set(comparison.kl_by_domain) == {
        "prose", "dialogue", "documentation", "code", "maths", "languages",
    }  # fmt: skip
    alone = evaluate(Subject(quantized), measuring=MEASURING)
    assert comparison_of(alone) is None
    assert alone.quality.perplexity == comparison.perplexity
    assert alone.peak_memory_bytes > 0


@pytest.mark.slow
def test_a_model_is_no_distance_from_itself(source: Path) -> None:
    comparison = comparison_of(evaluate(Subject(source), reference=Subject(source), measuring=MEASURING))
    assert comparison is not None
    assert comparison.mean_kl.value == 0
    assert comparison.top1_agreement.value == 1


def write_adapter(directory: Path, scale: float) -> Path:
    """A rank-2 LoRA on the query projections, as mlx-lm saves it."""
    directory.mkdir()
    config: dict[str, Any] = {
        "fine_tune_type": "lora",
        "num_layers": 3,
        "lora_parameters": {"rank": 2, "scale": scale, "dropout": 0.0, "keys": ["self_attn.q_proj"]},
    }
    (directory / "adapter_config.json").write_text(json.dumps(config))
    mx.random.seed(0)
    arrays = {}
    for layer in range(3):
        prefix = f"model.layers.{layer}.self_attn.q_proj"
        arrays[f"{prefix}.lora_a"] = mx.random.normal((64, 2))
        arrays[f"{prefix}.lora_b"] = mx.random.normal((2, 128))
    mx.save_safetensors(str(directory / "adapters.safetensors"), arrays)
    return directory


@pytest.mark.slow
def test_adapters_are_applied(source: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "strong", 2.0)
    found = evaluate(Subject(source, adapter), reference=Subject(source), measuring=MEASURING)
    comparison = comparison_of(found)
    assert comparison is not None
    assert found.model == "tiny + strong"
    assert comparison.mean_kl.value > 0.01
    same = evaluate(Subject(source, adapter), reference=Subject(source, adapter), measuring=MEASURING)
    assert comparison_of(same).mean_kl.value == 0  # type: ignore[union-attr]


@pytest.mark.slow
def test_text_of_ones_own(source: Path, tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("The water boils. " * 30)
    (tmp_path / "a.txt").write_text("mountain " * 200)
    (tmp_path / "c.bin").write_bytes(b"\xff\xfe")
    found = evaluate(Subject(source), text=tmp_path, measuring=Measuring(tokens=0, length=64))
    assert list(found.quality.perplexity_by_domain) == ["a.txt", "b.md"]
    one = evaluate(Subject(source), text=tmp_path / "a.txt", measuring=Measuring(tokens=0, length=64))
    assert one.quality.perplexity == found.quality.perplexity_by_domain["a.txt"]
    assert one.text == str(tmp_path / "a.txt")


@pytest.mark.slow
def test_other_tokenizers_are_refused(source: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    other = tmp_path / "other"
    write_checkpoint(other, "qwen3", tie_word_embeddings=True)
    tokenizer = Tokenizer.from_file(str(other / "tokenizer.json"))
    said = json.loads(tokenizer.to_str())
    vocab = said["model"]["vocab"]
    first, second = vocab["S"], vocab["t"]
    vocab["S"], vocab["t"] = second, first
    (other / "tokenizer.json").write_text(json.dumps(said))
    with pytest.raises(UnsupportedError, match=r"other and tiny have different tokenizers: token 0 .*'S'"):
        evaluate(Subject(other), reference=Subject(source), measuring=MEASURING)


@pytest.mark.slow
def test_rows_longer_than_the_context_are_refused(source: Path) -> None:
    with pytest.raises(PromptError, match="rows of 512 tokens exceed the context of tiny, 256 tokens"):
        evaluate(Subject(source), measuring=Measuring(length=512))


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", FormatError, "is empty"),
        (b" \n ", FormatError, "is empty"),
        (b"caf\xe9 au lait", FormatError, "is not UTF-8 text: byte 3 is 0xe9"),
        (b"abc\x00def", FormatError, "holds a NUL character"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, error: type, message: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        read_texts(path)


def test_text_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        read_texts(tmp_path / "none.txt")
    with pytest.raises(NotFoundError, match=r"holds no \.txt or \.md file"):
        read_texts(tmp_path)


def test_one_token_of_text_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(FormatError, match="no tokens to predict"):
        evaluate(Subject(source), text=tmp_path / "a.txt", measuring=MEASURING)


def test_an_adapter_that_is_none_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is not an mlx-lm adapter"):
        evaluate(Subject(source, tmp_path), measuring=MEASURING)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(OptionError, match="length is 4"):
        Measuring(length=4)
