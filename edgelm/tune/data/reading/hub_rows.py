"""Rows of a dataset on the Hugging Face Hub, through the `datasets` package, which is an extra.

`owner/name`, `owner/name:split` or `owner/name:config:split`. No code of the dataset's runs: `datasets` since
version 4 has no scripts, and older ones are told not to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from edgelm.errors import NetworkError, NotFoundError, UnsupportedError
from edgelm.tune.data.problems import Problem
from edgelm.tune.data.reading.features import feature_restorer
from edgelm.tune.data.reading.written import Written
from edgelm.tune.data.rows import RowOrigin

_NAME = re.compile(r"[\w.-]+/[\w.-]+(?::[\w.-]+){0,2}")


def looks_like_dataset(text: str) -> bool:
    """Tell whether `text` may be the id of a Hub dataset."""
    return _NAME.fullmatch(text) is not None and not text.startswith((".", "/"))


def read_hub_rows(text: str) -> Iterator[Written | Problem]:
    """Read the rows of the named split (else `train`).

    Raises:
        UnsupportedError: `datasets` is not installed.
        NotFoundError: no such dataset, configuration or split.
        NetworkError: the Hub cannot be reached.
    """
    name, *rest = text.split(":")
    split = rest[-1] if rest else "train"
    config = rest[0] if len(rest) == 2 else None
    for number, value in enumerate(_load(name, config, split), start=1):
        yield Written(value, RowOrigin(text, number))


def _load(name: str, config: str | None, split: str) -> Iterator[Mapping[str, Any]]:
    try:
        import datasets
    except ImportError as error:
        raise UnsupportedError(
            f"{name} is not a file, and to read it from the Hub the datasets package is missing",
            hint="pip install 'edgelm[data]', or check the path",
        ) from error
    try:
        dataset = datasets.load_dataset(name, config, split=split)
    except (FileNotFoundError, ValueError) as error:
        raise NotFoundError(f"no dataset {name} with a split {split}: {error}") from error
    except (ConnectionError, OSError) as error:
        raise NetworkError(f"{name} cannot be read from the Hub: {error}") from error
    return restored_rows(dataset)


def restored_rows(dataset: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a `datasets.Dataset`, without the nulls that its table gave them inside their cells."""
    columns = {name: feature_restorer(feature) for name, feature in (dataset.features or {}).items()}
    for row in dataset:
        yield {key: columns[key](cell) if key in columns else cell for key, cell in row.items()}
