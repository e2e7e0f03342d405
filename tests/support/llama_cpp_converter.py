"""llama.cpp's own converter, run in a child: a checkpoint as transformers saves it → GGUF.

Its Python files come out of the source distribution of `llama-cpp-python`, which pip fetches once a machine (76 MB);
EDGELM_LLAMA_CPP names a tree of llama.cpp to use instead. One child a session imports torch once and then converts a tiny
checkpoint in well below a second.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import platformdirs
import pytest
from filelock import FileLock

PACKAGE = "llama-cpp-python"
VERSION = "0.3.36"
WANTED = ("convert_hf_to_gguf.py", "conversion", "gguf-py")
CHILD = Path(__file__).with_name("llama_cpp_child.py")


class ConverterUnavailableError(Exception):
    """The converter is not on this machine and cannot be fetched."""


class ConverterFailedError(Exception):
    """llama.cpp's converter refused a checkpoint; the message ends with its own."""


def llama_cpp_tree() -> Path:
    """Return the folder of `convert_hf_to_gguf.py`, fetched first where this machine has none.

    Raises:
        ConverterUnavailableError: pip cannot fetch it, or EDGELM_LLAMA_CPP names no such tree.
    """
    named = os.environ.get("EDGELM_LLAMA_CPP")
    if named:
        if not (Path(named) / WANTED[0]).is_file():
            raise ConverterUnavailableError(f"EDGELM_LLAMA_CPP is {named}, and has no {WANTED[0]}")
        return Path(named)
    cache = platformdirs.user_cache_path("edgelm-tests")
    tree = cache / f"llama.cpp-{VERSION}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "llama.cpp.lock"):
        if not tree.exists():
            _fetch(tree)
    return tree


def _fetch(tree: Path) -> None:
    """Whole at once: what is unpacked is renamed when all of it is there."""
    with tempfile.TemporaryDirectory(dir=tree.parent) as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        wanted = ["--no-binary", PACKAGE, "--dest", scratch, f"{PACKAGE}=={VERSION}"]
        done = subprocess.run([*pip, *wanted], capture_output=True, text=True, timeout=600, check=False)
        archives = list(Path(scratch).glob("*.tar.gz"))
        if done.returncode or not archives:
            last = (done.stderr.strip().splitlines() or ["no word from pip"])[-1]
            raise ConverterUnavailableError(f"pip cannot fetch {PACKAGE} {VERSION}: {last}")
        unpacked = Path(scratch) / "unpacked"
        with tarfile.open(archives[0]) as archive:
            members = [member for member in archive.getmembers() if _is_wanted(member.name)]
            archive.extractall(unpacked, members, filter="data")
        (script,) = unpacked.rglob(WANTED[0])
        script.parent.rename(tree)


def _is_wanted(name: str) -> bool:
    """`<package>-<version>/vendor/llama.cpp/…`: the converter, its models and its own `gguf`."""
    parts = PurePosixPath(name).parts
    return parts[1:3] == ("vendor", "llama.cpp") and len(parts) > 3 and parts[3] in WANTED


@dataclass
class LlamaCppConverter:
    """One child process that converts whatever it is handed, one checkpoint after another."""

    tree: Path
    _child: subprocess.Popen[str] | None = None

    def convert(
        self,
        directory: Path,
        *options: str,
        out: Path | None = None,
        outtype: str = "f32",
        pre: str = "gpt-2",
        as_published: bool = False,
    ) -> Path:
        """Convert the checkpoint in `directory`; returns the GGUF file.

        Args:
            options: flags of convert_hf_to_gguf.py, as "--mmproj" or "--split-max-tensors", "10".
            out: where to; "model.gguf" beside the weights if not said.
            outtype: f32, f16, bf16, q8_0, tq1_0 or tq2_0.
            pre: what `tokenizer.ggml.pre` is to be: the converter knows published tokenizers by a hash alone.
            as_published: config.json is read as it is, and not by transformers 5, which renames keys.

        Raises:
            ConverterFailedError: it refuses the checkpoint.
        """
        out = out or directory / "model.gguf"
        arguments = [str(directory), "--outfile", str(out), "--outtype", outtype, *options]
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(
            json.dumps({"arguments": arguments, "pre": pre, "as_published": as_published}) + "\n"
        )
        child.stdin.flush()
        line = child.stdout.readline()
        reply = json.loads(line) if line else {"error": f"the child ended with {child.wait()}"}
        if reply["error"]:
            raise ConverterFailedError(reply["error"])
        return out

    def _running(self) -> subprocess.Popen[str]:
        if self._child is None or self._child.poll() is not None:
            self._child = subprocess.Popen(
                [sys.executable, str(CHILD), str(self.tree)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                # Other children of tests have no torch (`support/children`).
                env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            )
        return self._child

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.communicate()


@pytest.fixture(scope="session")
def llama_cpp() -> Iterator[LlamaCppConverter]:
    """llama.cpp's converter; without it, and without an index to fetch it from, the test is skipped."""
    try:
        converter = LlamaCppConverter(llama_cpp_tree())
    except ConverterUnavailableError as error:
        pytest.skip(f"llama.cpp's converter is not here: {error}")
    yield converter
    converter.close()
