from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edgelm import paths
from edgelm.errors import NotFoundError
from edgelm.library import models as library
from edgelm.library.manifest import Manifest

Files = dict[str, bytes]
MODEL_FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json")


@pytest.fixture(autouse=True)
def _own_home(home: Path) -> None:
    """No test sees the user's library."""


@pytest.fixture
def install(published: Files) -> object:
    """Put the tiny model into the library under a name."""

    def put(name: str, *, manifest: Manifest | None = None) -> Path:
        directory = paths.models() / name
        directory.mkdir(parents=True)
        for file in MODEL_FILES:
            (directory / file).write_bytes(published[file])
        if manifest:
            manifest.write(directory)
        return directory

    return put


def names() -> list[str]:
    return [model.name for model in library.installed()]


# Listing


def test_a_library_that_does_not_exist_is_empty() -> None:
    assert library.installed() == []
    assert not paths.models().exists()


def test_a_model_is_described_by_its_manifest_and_config(install) -> None:
    manifest = Manifest(source="org/model", kind="gguf", licence="mit", bits_per_weight=4.5)
    directory = install("tiny", manifest=manifest)
    (model,) = library.installed()
    assert model == library.Installed(
        name="tiny",
        directory=directory,
        size_bytes=sum(path.stat().st_size for path in directory.iterdir()),
        model_type="llama",
        bits_per_weight=4.5,
        context_length=128,
        source="org/model",
        licence="mit",
        created=manifest.created,
    )


def test_without_a_manifest_bits_are_measured(install) -> None:
    install("tiny")
    (model,) = library.installed()
    assert (model.bits_per_weight, model.source, model.problem) == (32.0, None, None)


def test_work_under_way_is_no_model(install) -> None:
    install("tiny")
    install(".tiny-4bit.partial-123")
    (paths.models() / "notes.txt").write_text("mine")
    assert names() == ["tiny"]


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("config.json", None, "does not exist"),
        ("config.json", b"{", "not valid JSON"),
        ("edgelm.json", b"[]", "not a manifest"),
        ("model.safetensors", None, "holds no model"),
        ("model.safetensors", b"short", "too short"),
    ],
)
def test_a_broken_model_is_listed_with_its_problem(
    install, file: str, content: bytes | None, problem: str
) -> None:
    install("whole")
    path = install("broken") / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    broken, whole = library.installed()
    assert problem in (broken.problem or "")
    assert whole.problem is None


# Resolving


def test_a_name_is_resolved_exactly_or_in_any_case(install) -> None:
    tiny, other = install("Tiny-4bit"), install("other")
    assert library.resolve("Tiny-4bit") == tiny
    assert library.resolve("tiny-4BIT") == tiny
    assert library.resolve("other") == other


@pytest.mark.skipif(os.path.normcase("A") == "a", reason="names differ in case only")
def test_names_that_differ_only_in_case_need_the_case(install) -> None:
    upper, lower = install("TINY"), install("tiny")
    if upper.samefile(lower):
        pytest.skip("this file system takes them for one")
    assert library.resolve("tiny") == lower
    with pytest.raises(NotFoundError):
        library.resolve("Tiny")


def test_a_path_is_resolved(install, tmp_path: Path) -> None:
    directory = install("tiny")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert library.resolve(str(directory)) == directory
    assert library.resolve(str(elsewhere)) == elsewhere


def test_a_folder_of_the_same_name_does_not_hide_a_model(
    install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = install("tiny")
    monkeypatch.chdir(tmp_path)
    Path("tiny").mkdir()
    assert library.resolve("tiny") == directory
    Path("tiny/config.json").write_text("{}")
    assert library.resolve("tiny") == Path("tiny")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("smollm2-135m", "did you mean SmolLM2-135M-4bit?"),
        ("org/entirely-else", "edgelm models pull org/entirely-else, or edgelm convert org/entirely-else"),
        ("zzz", "edgelm models lists what there is"),
    ],
)
def test_what_is_not_there_gets_a_hint(install, text: str, hint: str) -> None:
    install("SmolLM2-135M-4bit")
    with pytest.raises(NotFoundError) as caught:
        library.resolve(text)
    assert caught.value.hint == hint


def test_an_empty_library_hints_at_the_first_model() -> None:
    with pytest.raises(NotFoundError, match="no model 'x'") as caught:
        library.resolve("x")
    assert caught.value.hint == "the library is empty: edgelm convert smollm2"


def test_a_file_is_to_be_converted(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(NotFoundError, match="is a file") as caught:
        library.resolve(str(file))
    assert caught.value.hint == f"edgelm convert {file}"


# Removing


def test_removing_deletes_the_files_and_says_what_that_freed(install) -> None:
    directory = install("tiny")
    size = sum(path.stat().st_size for path in directory.iterdir())
    install("other")
    assert library.remove("tiny") == size
    assert names() == ["other"]
    assert sorted(path.name for path in paths.models().iterdir()) == ["other"]


def test_files_that_something_else_shares_are_not_counted_as_freed(install, tmp_path: Path) -> None:
    directory = install("tiny")
    os.link(directory / "model.safetensors", tmp_path / "shared")
    expected = sum(path.stat().st_size for path in directory.iterdir() if path.name != "model.safetensors")
    assert library.remove("tiny") == expected
    assert (tmp_path / "shared").exists()


def test_a_link_is_removed_and_not_followed(install, tmp_path: Path, published: Files) -> None:
    install("other")
    target = tmp_path / "elsewhere"
    target.mkdir()
    (target / "config.json").write_bytes(published["config.json"])
    (paths.models() / "linked").symlink_to(target)
    assert library.remove("linked") == 0
    assert (target / "config.json").exists()
    inner = install("inner")
    (inner / "away").symlink_to(target)
    library.remove("inner")
    assert (target / "config.json").exists()


def test_a_link_to_nowhere_can_be_removed(install) -> None:
    install("other")
    (paths.models() / "dangling").symlink_to("nowhere")
    library.remove("dangling")
    assert sorted(path.name for path in paths.models().iterdir()) == ["other"]


@pytest.mark.parametrize("name", ["../outside", "..", ".", "", ".hidden", "tiny/", "Tiny", "tiny/../tiny"])
def test_only_exact_names_of_the_library_are_removed(install, name: str) -> None:
    install("tiny")
    install(".hidden")
    outside = paths.home() / "outside"
    outside.mkdir()
    with pytest.raises(NotFoundError):
        library.remove(name)
    with pytest.raises(NotFoundError):
        library.remove(str(outside))
    assert names() == ["tiny"]
    assert outside.is_dir()
    assert (paths.models() / ".hidden").is_dir()


def test_what_a_killed_removal_left_is_removed_by_the_next(install) -> None:
    install(".removed-old-123")
    install("tiny")
    library.remove("tiny")
    assert list(paths.models().iterdir()) == []


def test_a_broken_model_can_be_removed(install) -> None:
    (install("tiny") / "config.json").write_text(json.dumps([]))
    library.remove("tiny")
    assert names() == []
