"""Curves go to TensorBoard, W&B or Trackio where those are installed; here, stand-ins are."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from tuning import request

from edgelm.errors import OptionError
from edgelm.runs.events import Stepped, Validated
from edgelm.runs.folder import RunFolder
from edgelm.tune.loop.writers import check_writer, open_writer

STEP = Stepped(3, 9, 0.5, 2.0, 2.5, 1e-4, 1.5, 10, 20, 100.0, 7, 1.0, None)
VALIDATION = Validated(3, 1.25, 1.25, 3, 10, 1.0)


def install(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    module = types.ModuleType(name)
    module.__dict__.update(members)
    module.__spec__ = types.SimpleNamespace(name=name)  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, name, module)


def test_wandb_gets_every_step_and_validation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said: list[Any] = []
    install(
        monkeypatch, "wandb",
        init=lambda **options: said.append(options["name"]),
        log=lambda values, step: said.append((step, values)),
        finish=lambda: said.append("finished"),
    )  # fmt: skip
    with open_writer("wandb", RunFolder(tmp_path / "run"), request(tmp_path, tmp_path)) as write:
        write(STEP)
        write(VALIDATION)
    assert said[0] == "run"
    assert said[1][0] == 3
    assert said[1][1]["train/smoothed"] == 2.5
    assert said[2:] == [(3, {"validation/loss": 1.25}), "finished"]


def test_tensorboard_writes_into_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said: list[Any] = []

    class SummaryWriter:
        def __init__(self, directory: str) -> None:
            said.append(directory)

        def add_scalar(self, name: str, value: float, step: int) -> None:
            said.append((name, value, step))

        def close(self) -> None:
            said.append("closed")

    install(monkeypatch, "tensorboardX", SummaryWriter=SummaryWriter)
    with open_writer("tensorboard", RunFolder(tmp_path / "run"), request(tmp_path, tmp_path)) as write:
        write(VALIDATION)
    assert said == [str(tmp_path / "run" / "tensorboard"), ("validation/loss", 1.25, 3), "closed"]


def test_what_is_not_installed_is_said() -> None:
    with pytest.raises(OptionError, match="trackio is not installed"):
        check_writer("trackio")
