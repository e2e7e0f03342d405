"""A source as the model that converting it will make: config and tensor shapes, from headers alone.

Nothing is written but what an architecture must compute with, and that goes with a temporary directory.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import Future
from pathlib import Path

from edgelm.errors import NotFoundError
from edgelm.library import packages
from edgelm.library.models import resolve
from edgelm.model.described import Described, describe_model
from edgelm.progress import ignore_progress
from edgelm.zoo.configs.normalise import normalise_config
from edgelm.zoo.weights.files import names_in
from edgelm_converters.conversion import Conversion
from edgelm_converters.methods.registry import ROUNDING
from edgelm_converters.pipeline.job import ConversionJob
from edgelm_converters.pipeline.planning import plan_of
from edgelm_converters.pipeline.settle import settled
from edgelm_converters.result.naming import library_name
from edgelm_converters.sources.recognise import open_checkpoint
from edgelm_converters.targets.mlx.config_files import converted_config


def needs_converting(text: str) -> bool:
    """Tell whether `text` names weights that do not run as they are: a GGUF, PyTorch weights, an installed package."""
    path = Path(text).expanduser()
    if path.is_file():
        return True
    try:
        directory = resolve(text)
    except NotFoundError:
        return packages.find_package(text) is not None
    return not any(name.endswith(".safetensors") for name in names_in(directory))


def describe_source(text: str, *, bits: int | None = None) -> Described:
    """Describe the model that `edgelm convert` makes of `text`, with `bits` as asked.

    Raises:
        NotFoundError, FormatError, UnsafeError, UnsupportedError: see `open_checkpoint`.
        OptionError: there is no such width.
    """
    checkpoint = open_checkpoint(text, revision=None, on_progress=ignore_progress)
    checkpoint, config, notes = settled(checkpoint, normalise_config(checkpoint.config))
    wanted = Conversion(bits=bits, quality=ROUNDING.name)
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        job = ConversionJob(
            checkpoint, config, wanted, directory, directory, Future(), ignore_progress, lambda _: None, notes
        )
        job.stage.mkdir()
        decision, plan = plan_of(job)
    converted = normalise_config(converted_config(config, plan, sorted(decision.left)))
    name = library_name(checkpoint, config, Conversion(bits=bits))
    return Described(name, checkpoint.origin.files[0].parent, converted, plan.headers)


def describe(text: str, *, bits: int | None = None) -> tuple[Described, bool]:
    """Describe the model that `text` means, and say whether it is one only once it is converted.

    Raises:
        NotFoundError, NetworkError, FormatError, UnsafeError, UnsupportedError, OptionError: see `describe_model` and
            `describe_source`.
    """
    if needs_converting(text):
        return describe_source(text, bits=bits), True
    return describe_model(text), False
