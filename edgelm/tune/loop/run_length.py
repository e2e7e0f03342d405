"""How long a run is: by epochs, by steps, or by a time budget that is fitted once the first steps are measured.

Knows times and counts, nothing of what is computed.
"""

from __future__ import annotations

import statistics
from collections import deque

from edgelm.tune.position import Position
from edgelm.tune.settings import LoopSettings

_WARM_STEPS = 2
"""Steps that compile, and are not measured."""
_MEASURED_STEPS = 3
_REFIT_EVERY = 10
_PROVISIONAL_STEPS = 1000
"""The schedule of the first steps, which are not fitted yet."""
_VALIDATIONS = 10
_WINDOW = 50
_CHECKPOINT_S = 600.0


class RunLength:
    """The length of a run, and when things are due in it.

    Args:
        loop: epochs, steps or seconds.
        steps_per_epoch: updates.
    """

    def __init__(self, loop: LoopSettings, steps_per_epoch: int) -> None:
        self._loop = loop
        self._steps_per_epoch = steps_per_epoch
        self._step_s: deque[float] = deque(maxlen=_WINDOW)
        self._validation_s = 0.0
        self._seen = 0

    def begin(self, position: Position) -> None:
        """Set the length of a run without a time budget."""
        loop = self._loop
        if loop.for_s is None and position.total_steps is None:
            epochs = loop.epochs if loop.epochs is not None else 1.0
            position.total_steps = loop.steps or max(1, round(epochs * self._steps_per_epoch))
        self._set_validations(position)

    def measured_step(self, elapsed_s: float) -> None:
        """Note how long one step took."""
        self._seen += 1
        if self._seen > _WARM_STEPS or self._loop.for_s is None:
            self._step_s.append(elapsed_s)

    def measured_validation(self, elapsed_s: float) -> None:
        """Note how long one validation took."""
        self._validation_s = max(self._validation_s, elapsed_s)

    def fit(self, position: Position) -> None:
        """Fit the number of steps to what is left of the time budget, now and then."""
        if self._loop.for_s is None or len(self._step_s) < _MEASURED_STEPS:
            return
        if position.total_steps is not None and position.step % _REFIT_EVERY:
            return
        left_s = self._loop.for_s - position.elapsed_s - self._validation_s
        every = position.validate_every or max(1, round(left_s / self._typical_s() / _VALIDATIONS))
        cost_s = self._typical_s() + self._validation_s / every
        position.total_steps = position.step + max(1, int(left_s / cost_s))
        self._set_validations(position)

    def planned_steps(self, position: Position) -> int:
        """Return how many steps the schedule is made for."""
        return position.total_steps or _PROVISIONAL_STEPS

    def is_over(self, position: Position) -> bool:
        """Tell whether every step is done, or another and a last validation would exceed the time budget."""
        if position.total_steps is not None and position.step >= position.total_steps:
            return True
        if self._loop.for_s is None:
            return False
        next_s = max(self._step_s, default=0.0) + self._validation_s
        return position.elapsed_s + next_s > self._loop.for_s

    def eta_s(self, position: Position) -> float | None:
        """Predict the seconds left, None while nothing is measured."""
        if position.total_steps is None or not self._step_s:
            return None
        steps = position.total_steps - position.step
        validations = steps / position.validate_every if position.validate_every else 0
        return steps * self._typical_s() + validations * self._validation_s

    def is_validation_due(self, position: Position) -> bool:
        """Tell whether a validation is due after a step."""
        every = position.validate_every
        return every is not None and position.step % every == 0

    def is_checkpoint_due(self, position: Position, since_s: float) -> bool:
        """Tell whether one is due after a step, `since_s` after the last: by steps, and at the latest after ten minutes.

        A run may be ended from outside at any step (a power cut, macOS's GPU watchdog); no more than that is lost.
        """
        if since_s >= _CHECKPOINT_S:
            return True
        every = self._loop.checkpoint_every or position.validate_every
        return every is not None and position.step % every == 0

    def _typical_s(self) -> float:
        return statistics.median(self._step_s)

    def _set_validations(self, position: Position) -> None:
        if position.validate_every is None:
            every = self._loop.validate_every
            if every is None and position.total_steps is not None:
                every = max(1, round(position.total_steps / _VALIDATIONS))
            position.validate_every = every
