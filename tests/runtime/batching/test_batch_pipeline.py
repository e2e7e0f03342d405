"""A batch is a step ahead of whoever reads: rates in virtual time (5 ms a forward pass, 3 ms a step for the listener)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from virtual_device import VirtualDevice

from edgelm.runtime.batching.rows import Rows

PROMPT = [5, 17, 200, 3, 42, 42, 99, 150, 7, 21]
COUNT, HOST_S, BAR = 60, 0.003, 190.0

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sampled": {"temperature": 0.7, "top_p": 0.9, "seed": 1},
    "constrained": {"regex": "[a-z]{200}"},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SETTINGS)
def test_a_batch_is_a_step_ahead(
    monkeypatch: pytest.MonkeyPatch, network: Any, bench: Callable[..., Any], kind: str
) -> None:
    """Also after a reply has left: what is read then was computed with the step before."""
    device = VirtualDevice()
    tried = bench(network)
    prompts = [{"prompt": [*PROMPT, at], "enable_thinking": False, **SETTINGS[kind]} for at in range(4)]
    prompts[1]["max_tokens"] = COUNT // 3
    batch = tried.batch(prompts, max_tokens=COUNT)
    batch.engine._runner.network = device.network(network)
    deal = Rows._deal

    def listened(rows: Rows, tokens: Any, **facts: Any) -> Any:
        found = deal(rows, tokens, **facts)
        device.work(HOST_S)
        times.append(device.now)
        return found

    times: list[float] = []
    monkeypatch.setattr(Rows, "_deal", listened)
    device.install(monkeypatch)
    for _ in batch.events():
        pass
    steps = times[5:-1]
    assert (len(steps) - 1) / (steps[-1] - steps[0]) >= BAR
