"""Rollouts as files of the run: a line of JSON a group, written when it is drawn, and again when it is judged.

A killed run loses what was under way. A line that a kill cut off is none. Floats are written so that they come back
as the same bits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgelm.atomic import disk_errors
from edgelm.tune.rollouts.rollout import Rollout, RolloutGroup


class RolloutStore:
    """The rollouts of a run, by rounds, under `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def groups(self, round_number: int) -> dict[int, RolloutGroup]:
        """Return what is kept of a round, by question: of each the last line, which has its rewards if it was judged."""
        return {group.question: group for group in self._read(self._path(round_number))}

    def add(self, round_number: int, group: RolloutGroup) -> None:
        """Keep a group; it is on the disk when this returns.

        Raises:
            OutputError: the disk refuses.
        """
        path = self._path(round_number)
        with disk_errors(path):
            self._folder.mkdir(parents=True, exist_ok=True)
            line = json.dumps(_plain(group), ensure_ascii=False).encode() + b"\n"
            with path.open("ab") as file:
                # A line that a kill cut off before is ended first, so that it takes no other with it.
                file.write(b"\n" + line if _is_cut_off(path) else line)
                file.flush()
                os.fsync(file.fileno())

    def _path(self, round_number: int) -> Path:
        return self._folder / f"round-{round_number:06d}.jsonl"

    def _read(self, path: Path) -> Iterator[RolloutGroup]:
        if not path.exists():
            return
        for line in path.read_bytes().splitlines():
            try:
                yield _group(json.loads(line))
            except (ValueError, KeyError, TypeError):
                continue


def _is_cut_off(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return False
        file.seek(size - 1)
        return file.read(1) != b"\n"


def _plain(group: RolloutGroup) -> dict[str, Any]:
    return {
        "question": group.question,
        "rewards": group.rewards,
        "parts": dict(group.parts),
        "answers": [
            {
                "text": each.text,
                "is_cut_off": each.is_cut_off,
                "tokens": each.tokens.tolist(),
                "log_probs": [float(value) for value in each.log_probs],
            }
            for each in group.rollouts
        ],
    }


def _group(value: dict[str, Any]) -> RolloutGroup:
    rollouts = tuple(
        Rollout(
            np.array(each["tokens"], np.int32),
            np.array(each["log_probs"], np.float32),
            each["text"],
            each["is_cut_off"],
        )
        for each in value["answers"]
    )
    rewards = value["rewards"]
    parts = {name: tuple(numbers) for name, numbers in value["parts"].items()}
    return RolloutGroup(value["question"], rollouts, None if rewards is None else tuple(rewards), parts)
