"""Whether models go on with what they are at: a watchdog that says so, and lets whoever watches the server decide."""

from __future__ import annotations

import asyncio

from edgelm.log import logger
from edgelm.server.residents import Residents

_LOOK_S = 5.0


class StallWatch:
    """Knows for how long no step of a model that has work has ended.

    Args:
        stall_s: how long a step may take before it counts as stalled; the longest is a chunk of a prompt.
    """

    def __init__(self, residents: Residents, stall_s: float) -> None:
        self._residents, self._stall_s = residents, stall_s
        self._told: set[str] = set()

    @property
    def waited_s(self) -> float:
        """The longest of all models, in seconds; 0 where none has work."""
        return max((resident.model.stalled_s for resident in self._residents.loaded), default=0.0)

    @property
    def is_stalled(self) -> bool:
        """Whether a model has stood still for too long."""
        return self.waited_s > self._stall_s

    def look(self) -> None:
        """Write to the log which model has begun to stall, and which goes on again."""
        for resident in self._residents.loaded:
            waited_s, name = resident.model.stalled_s, resident.name
            if waited_s > self._stall_s and name not in self._told:
                self._told.add(name)
                logger.error("%s stalls: no step has ended for %.0f s, and there is work", name, waited_s)
            elif waited_s <= self._stall_s and name in self._told:
                self._told.remove(name)
                logger.warning("%s goes on again", name)

    async def run(self) -> None:
        """Look every few seconds, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_S)
