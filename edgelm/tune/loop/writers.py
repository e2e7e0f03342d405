"""Curves to TensorBoard, Weights & Biases or Trackio, where those are installed. edgelm depends on none of them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from edgelm.errors import OptionError
from edgelm.runs.events import Stepped, TuneEvent, Validated
from edgelm.runs.folder import RunFolder
from edgelm.tune.request import TuneRequest

Write = Callable[[TuneEvent], None]

_PROJECT = "edgelm"
_PACKAGES = {
    "tensorboard": ("tensorboardX", "torch.utils.tensorboard"),
    "wandb": ("wandb",),
    "trackio": ("trackio",),
}
_CURVES = ("loss", "smoothed", "learning_rate", "grad_norm", "tokens_per_s")


@contextmanager
def open_writer(name: str, folder: RunFolder, request: TuneRequest) -> Iterator[Write]:
    """Open something to give every event to; it is closed at the end.

    Raises:
        OptionError: there is no such writer, or it is not installed.
    """
    module = check_writer(name)
    if name == "tensorboard":
        writer = module.SummaryWriter(str(folder.path / "tensorboard"))
        log, close = lambda values, step: _scalars(writer, values, step), writer.close
    else:  # trackio has the functions of wandb
        module.init(project=_PROJECT, name=folder.name, config=request.to_json())
        log, close = lambda values, step: module.log(values, step=step), module.finish
    try:
        yield lambda event: _write(event, log)
    finally:
        close()


def check_writer(name: str) -> Any:
    """Import the module of a writer.

    Raises:
        OptionError: there is no such writer, or it is not installed.
    """
    if name not in _PACKAGES:
        raise OptionError(f"report_to is {name!r}, expected {', '.join(_PACKAGES)}")
    for package in _PACKAGES[name]:
        if importlib.util.find_spec(package.partition(".")[0]) is not None:
            try:
                return importlib.import_module(package)
            except ImportError:
                continue  # torch is there, tensorboard is not
    raise OptionError(f"{name} is not installed", hint=f"pip install {_PACKAGES[name][0]}")


def _scalars(writer: Any, values: dict[str, float], step: int) -> None:
    for curve, value in values.items():
        writer.add_scalar(curve, value, step)


def _write(event: TuneEvent, log: Callable[[dict[str, float], int], object]) -> None:
    if isinstance(event, Stepped):
        curves = {curve: float(getattr(event, curve)) for curve in _CURVES} | event.metrics
        log({f"train/{curve}": value for curve, value in curves.items()}, event.step)
    elif isinstance(event, Validated):
        curves = {"loss": event.loss} | event.metrics
        log({f"validation/{curve}": value for curve, value in curves.items()}, event.step)
