"""What a request may name: models that are served, and adapters of the library on them, as "base+adapter". Names, never paths.

    named = NamedModels(residents.directories)
    named.find("base+style", ())      # the model's name, and the adapters that act

Looks at the disk: for threads where nobody waits. Knows no network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgelm import paths
from edgelm.adapters.files import CONFIG, WEIGHTS, AdapterConfig, read_adapter_config
from edgelm.adapters.use import AdapterUse
from edgelm.errors import EdgeLMError, FormatError, NotFoundError, UnsupportedError
from edgelm.library.identity import known_identity, weights_identity
from edgelm.library.names import directories, named_in
from edgelm.log import logger


@dataclass(frozen=True)
class NamedModel:
    """What a request is answered with."""

    base: str
    """The model's name."""
    adapters: tuple[AdapterUse, ...] | None
    """Who acts, in place of those that the model was loaded with; None is as it was loaded."""
    directory: Path
    """The model's."""

    @property
    def name(self) -> str:
        """What it is called as a whole."""
        return "+".join([self.base, *(use.name for use in self.adapters or ())])


class NamedModels:
    """Finds what names mean.

    Args:
        served: gives the models that are served, by name.
    """

    def __init__(self, served: Callable[[], Mapping[str, Path]]) -> None:
        self._served = served

    def find(self, name: str, adapters: Sequence[str] = ()) -> NamedModel:
        """Return what a request means by `name`, a model or "model+adapter", with further adapters.

        Raises:
            NotFoundError: no such model or adapter.
            UnsupportedError: the adapter was made for another model, or is a full fine-tune.
            FormatError: the adapter's files are broken.
        """
        served = self._served()
        if name in served:
            base, joined = name, []
        else:
            base = max((known for known in served if name.startswith(f"{known}+")), key=len, default="")
            if not base:
                names = ", ".join(sorted(served)) or "none"
                raise NotFoundError(f"there is no model {name!r} here", hint=f"models are {names}")
            joined = [name[len(base) + 1 :]]
        wanted = [each for text in [*joined, *adapters] for each in self._adapters(text, base, served[base])]
        uses = tuple(AdapterUse(_checked(each, base, served[base])) for each in wanted)
        return NamedModel(base, uses or None, served[base])

    def all(self) -> list[NamedModel]:
        """Return the models, each followed by the adapters that say they were made for it."""
        made_for = dict(_configs())
        found = []
        for base, directory in sorted(self._served().items()):
            found.append(NamedModel(base, None, directory))
            found += [
                NamedModel(base, (AdapterUse(path),), directory)
                for path, config in made_for.items()
                if _says(config, base, directory)
            ]
        return found

    def _adapters(self, text: str, base: str, model: Path) -> list[Path]:
        """The adapters that "a" or "a+b" means; names may have a + of their own."""
        parts = text.split("+")
        for end in range(len(parts), 0, -1):
            if (found := named_in(paths.adapters(), "+".join(parts[:end]))) is not None:
                rest = "+".join(parts[end:])
                return [found, *(self._adapters(rest, base, model) if end < len(parts) else [])]
        names = ", ".join(path.name for path, config in _configs() if _says(config, base, model)) or "none"
        raise NotFoundError(f"there is no adapter {parts[0]!r} here", hint=f"adapters of {base} are {names}")


def _configs() -> Iterator[tuple[Path, AdapterConfig]]:
    """The adapters of the library that can act on some requests, with what they say of themselves."""
    for path in directories(paths.adapters()):
        try:
            config = _config(path)
        except EdgeLMError as error:
            logger.info("adapter %s is not served: %s", path.name, error)
            continue
        if config.kind != "full":
            yield path, config


def _config(adapter: Path) -> AdapterConfig:
    if not ((adapter / WEIGHTS).is_file() and (adapter / CONFIG).is_file()):
        raise UnsupportedError(
            f"adapter {adapter.name!r} is not in mlx-lm's format", hint="edgelm adapters import makes it so"
        )
    try:
        return read_adapter_config(adapter)
    except FormatError as error:  # whose message has paths
        logger.info("%s", error)
        raise FormatError(f"adapter {adapter.name!r} is broken") from error


def _says(config: AdapterConfig, base: str, model: Path) -> bool:
    """Whether an adapter says that it was made for a model; files are not hashed for that."""
    known = known_identity(model) if config.base_sha256 is not None else None
    return config.base_sha256 == known if known is not None else Path(config.base or "").name == base


def _checked(adapter: Path, base: str, model: Path) -> Path:
    config = _config(adapter)
    if config.kind == "full":
        raise UnsupportedError(
            f"{adapter.name!r} is a full fine-tune, which cannot act on some requests alone",
            hint="edgelm fuse makes a model of it",
        )
    if config.base_sha256 is not None and config.base_sha256 != weights_identity(model):
        other = Path(config.base or "another model").name
        raise UnsupportedError(f"adapter {adapter.name!r} was made for {other!r}, not for {base!r}")
    return adapter
