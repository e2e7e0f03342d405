"""A reward function that was handed over in Python."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Sequence
from typing import Any

from edgelm.errors import RewardError
from edgelm.rewards.functions.calling import arguments_of, checked_rewards
from edgelm.rewards.reward import JudgedAnswer, Reward


class FunctionReward(Reward):
    """Calls `function` in this process.

    Args:
        name: what it is called in messages; None is the function's own name.
        seconds: that a call may take. A call that takes longer cannot be ended, only left alone: a file's function can
            (`FileReward`).
    """

    def __init__(
        self, function: Callable[..., Any], *, name: str | None = None, seconds: float = 600
    ) -> None:
        self.name = name or str(getattr(function, "__name__", type(function).__name__))
        self._function, self._seconds = function, seconds

    def score(self, answers: Sequence[JudgedAnswer]) -> list[float | None]:
        """Return what the function gives.

        Raises:
            RewardError: it raised, took too long, or gave something else than a number for each answer.
        """
        given: list[Any] = []
        failed: list[BaseException] = []
        arguments = wanted_arguments(self._function, arguments_of(answers))

        def call() -> None:
            try:
                given.append(self._function(**arguments))
            except BaseException as error:  # noqa: BLE001 - whatever it raises is told below
                failed.append(error)

        thread = threading.Thread(target=call, name=f"edgelm-reward-{self.name}", daemon=True)
        thread.start()
        thread.join(self._seconds)
        if failed:
            error = failed[0]
            raise RewardError(f"the reward {self.name} raised {type(error).__name__}: {error}") from error
        if not given:
            raise RewardError(f"the reward {self.name} has not answered within {self._seconds:g} s")
        return checked_rewards(self.name, given[0], len(answers))


def wanted_arguments(function: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return those of `arguments` that `function` takes by name; all where it takes any."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of a builtin, which does not say
        return arguments
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return arguments
    names = {parameter.name for parameter in parameters}
    return {name: value for name, value in arguments.items() if name in names}
