"""What a name may be, where a result goes, and how a model or adapter that was named is found."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import pytest
from checkpoints import write_checkpoint

import edgelm
from edgelm import paths
from edgelm.adapters.files import AdapterConfig, write_adapter
from edgelm.adapters.find import find_adapter, parse_use
from edgelm.errors import NotFoundError, OptionError, OutputError, UnsupportedError
from edgelm.library.manifest import Manifest
from edgelm.library.models import obtain, pull, resolve
from edgelm.library.names import check_name, is_path, place
from edgelm.library.references import copy, rename

BAD = ["../evil", "..", ".", "", "a/b", "/etc", ".hidden", "-flag", "a b", "ü", "a\n", "x" * 201, "a\\b"]


@pytest.mark.parametrize("name", BAD)
def test_what_makes_a_path_is_no_name(name: str, home: Path) -> None:
    with pytest.raises(OptionError, match="expected letters, digits"):
        check_name(name)
    with pytest.raises(OptionError):
        place(paths.models(), name=name)
    with pytest.raises(OptionError):
        pull("org/model", name=name)
    with pytest.raises(OptionError):
        edgelm.convert("anything", name=name)
    assert not paths.models().exists()


def test_a_name_is_of_the_library_and_an_output_a_path(home: Path) -> None:
    assert place(paths.models(), name="a") == paths.models() / "a"
    assert place(paths.models(), output="a") == Path("a")
    assert place(paths.models(), output="~/a") == Path("~/a").expanduser()
    assert place(paths.models(), default="a") == paths.models() / "a"
    with pytest.raises(OptionError, match="both given"):
        place(paths.models(), name="a", output="b")
    with pytest.raises(OptionError, match="neither"):
        place(paths.models())


@pytest.mark.slow
def test_names_that_differ_in_case_alone_are_one(home: Path) -> None:
    """On a Mac's disk they are one directory; elsewhere one would hide the other from `Tiny`."""
    write_checkpoint(paths.models() / "tiny", "llama")
    for said in ({"name": "Tiny"}, {"default": "TINY"}):
        assert place(paths.models(), **said) == paths.models() / "tiny"
    with pytest.raises(OutputError, match="tiny already exists"):
        edgelm.convert(paths.models() / "tiny", name="TINY", mode="none")
    with pytest.raises(OutputError, match="tiny already exists"):
        copy(paths.models(), "tiny", "TINY", "model")
    with pytest.raises(OutputError, match="tiny already exists"):
        rename(paths.models(), "tiny", "tiny", "model")
    assert rename(paths.models(), "TINY", "Tiny", "model").name == "Tiny"
    assert [path.name for path in paths.models().iterdir()] == ["Tiny"]


@pytest.mark.slow
def test_a_rename_is_told_whatever_case_the_name_was_given_in(home: Path) -> None:
    write_checkpoint(paths.models() / "tiny", "llama")
    made = edgelm.convert("tiny", name="small", mode="none")
    parent = {"name": "tiny", "source": str((paths.models() / "tiny").absolute())}
    Manifest.read(made.directory)
    file = made.directory / "edgelm.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps({**said, "parents": [parent]}))
    rename(paths.models(), "TINY", "base", "model")
    (told,) = json.loads(file.read_text())["parents"]
    assert told == {"name": "base", "source": str((paths.models() / "base").absolute())}


def test_an_empty_output_is_no_path(home: Path) -> None:
    with pytest.raises(OptionError, match="output is '', expected a path"):
        place(paths.models(), output="")


def test_a_misspelt_path_is_not_looked_for_on_the_hub(home: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "model").mkdir(parents=True)
    (tmp_path / "out" / "model" / "config.json").touch()
    (tmp_path / "out" / "modles").mkdir()
    wrong = str(tmp_path / "out" / "modle")
    assert is_path(wrong)
    with pytest.raises(NotFoundError) as caught:
        obtain(wrong)
    assert caught.value.hint == f"did you mean {tmp_path / 'out' / 'model'}?"


@pytest.mark.parametrize(
    ("text", "expected"), [("./a", True), ("~/a", True), ("/a", True), ("org/name", False)]
)
def test_is_path(text: str, expected: bool) -> None:
    assert is_path(text) is expected


def test_nothing_is_no_model_and_no_adapter(home: Path) -> None:
    for find in (resolve, find_adapter):
        with pytest.raises(NotFoundError):
            find("")


def _adapter(directory: Path) -> Path:
    directory.mkdir(parents=True)
    for name in ("adapters.safetensors", "adapter_config.json"):
        (directory / name).write_bytes(b"")
    return directory


def test_adapters_are_found_as_models_are(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    style = _adapter(paths.adapters() / "style")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "style").mkdir()
    assert find_adapter("style") == style
    assert find_adapter("STYLE") == style
    assert parse_use("style=0.5").weight == 0.5
    here = _adapter(tmp_path / "here")
    assert find_adapter("here").samefile(here)
    with pytest.raises(NotFoundError, match="no adapter 'stile'") as caught:
        find_adapter("stile")
    assert caught.value.hint == "did you mean style?"
    with pytest.raises(OptionError, match="expected a finite number"):
        parse_use("style=nan")
    with pytest.raises(NotFoundError, match="is not an mlx-lm adapter"):
        find_adapter(str(tmp_path))


@pytest.mark.slow
def test_a_hub_id_is_pulled_wherever_a_model_is_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fake(text: str, **_: object) -> object:
        asked.append(text)
        raise NotFoundError("nothing there")

    monkeypatch.setattr("edgelm.library.models.pull", fake)
    from edgelm.cli.main import main

    for words in (
        "eval org/m",
        "bench org/m",
        "tune org/m --data x",
        "adapters fuse org/m a",
        "data show x --model org/m",
    ):
        assert main(words.split()) == 1
    assert asked == ["org/m"] * 5


@pytest.mark.slow
def test_conversions_of_one_source_have_names_of_their_own(home: Path, tmp_path: Path) -> None:
    source = tmp_path / "tiny"
    write_checkpoint(source)
    ways = [
        {"bits": 4, "quality": "rtn"},
        {"bits": 4, "quality": "fast"},
        {"bits": 8},
        {"bits": 4, "group_size": 32, "quality": "rtn"},
        {"bits": 8, "dtype": "float32"},
        {"mode": "mxfp4"},
        {"mode": "none", "dtype": "float32"},
    ]
    made = [edgelm.convert(source, verify=False, loss_tokens=0, **way).directory.name for way in ways]
    assert made == [
        "tiny-4bit-rtn", "tiny-4bit-fast", "tiny-8bit", "tiny-4bit-g32-rtn", "tiny-8bit-fp32", "tiny-mxfp4", "tiny-fp32",
    ]  # fmt: skip


def test_another_base_is_said_before_anything_is_loaded(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Path] = []
    monkeypatch.setattr("edgelm.api.Model", lambda directory, _: loaded.append(directory))
    write_checkpoint(tmp_path / "m")
    config = AdapterConfig(kind="lora", rank=1, base_sha256="0" * 64, base="other")
    tensors = {
        "model.layers.0.self_attn.q_proj.lora_a": mx.zeros((4, 1)),
        "model.layers.0.self_attn.q_proj.lora_b": mx.zeros((1, 4)),
    }
    (tmp_path / "a").mkdir()
    write_adapter(tmp_path / "a", config, tensors, Manifest(source="x", kind="adapter"))
    with pytest.raises(UnsupportedError, match="was trained on other"):
        edgelm.load(tmp_path / "m", adapter=str(tmp_path / "a"))
    with pytest.raises(NotFoundError, match="no adapter 'b'"):
        edgelm.load("org/never-pulled", adapter="b")
    assert loaded == []
