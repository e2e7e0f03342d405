"""A thousand requests, of which some askers go, some send nonsense and some ask for what cannot be.

Each is answered with its right status, none is lost, and the memory of the process does not grow with them.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest
from serving import served

pytestmark = [pytest.mark.fault, pytest.mark.slow]

CHAT = "/v1/chat/completions"
COUNT, AT_ONCE = 1_000, 16
WARM = 200
"""Requests after which what is kept (caches of prompts, compiled grammars, buffers) has its size."""
MOST_GROWTH_BYTES = 24 << 20
"""What allocators may keep of their own; one lost reply a request would be more."""


def good(random_: random.Random) -> dict[str, Any]:
    words = " ".join(random_.choices(("alpha", "beta", "gamma", "delta"), k=random_.randint(1, 12)))
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": words}],
        "max_tokens": random_.randint(1, 6),
    }
    body["seed"] = random_.randint(0, 9)
    if random_.random() < 0.3:
        body["stream"] = True
    return body


NONSENSE = (b"", b"{", b"\xff", b'{"messages": 3}', b'{"messages":[],"temperature":NaN}', b"[" * 5_000)
IMPOSSIBLE: tuple[tuple[int, dict[str, Any]], ...] = (
    (400, {"messages": [{"role": "user", "content": "y" * 200_000}]}),
    (404, {"messages": [{"role": "user", "content": "x"}], "model": "nowhere"}),
    (400, {"messages": [{"role": "user", "content": "x"}],
           "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#"}}}}),
)  # fmt: skip


class Storm:
    """Asks, and counts (what was asked, what came)."""

    def __init__(self, client: httpx2.AsyncClient, seed: int) -> None:
        self._client, self._random = client, random.Random(seed)
        self.came: Counter[tuple[str, int]] = Counter()

    async def run(self, count: int) -> None:
        """Ask so many requests, some at a time."""
        kinds = ["gone"] * (count // 10) + ["nonsense"] * (count // 20) + ["impossible"] * (count // 50)
        kinds += ["good"] * (count - len(kinds))
        self._random.shuffle(kinds)
        left = iter(kinds)

        async def asker() -> None:
            for kind in left:
                await getattr(self, kind)()

        await asyncio.gather(*(asker() for _ in range(AT_ONCE)))

    async def good(self) -> None:
        """Ask for an answer and read it."""
        body = good(self._random)
        answer = await self._client.post(CHAT, json=body)
        assert answer.status_code != 200 or (
            "[DONE]" in answer.text if body.get("stream") else answer.json()["choices"]
        )
        self.came["good", answer.status_code] += 1

    async def gone(self) -> None:
        """Ask for a long answer, and go before it has come."""
        body = {**good(self._random), "stream": True, "max_tokens": 20_000, "logit_bias": {"256": -100}}
        async with self._client.stream("POST", CHAT, json=body) as answer:
            if self._random.random() < 0.7:
                async for _ in answer.aiter_raw():
                    break
        self.came["gone", answer.status_code] += 1

    async def nonsense(self) -> None:
        """Send what is no request."""
        answer = await self._client.post(CHAT, content=self._random.choice(NONSENSE))
        self.came["nonsense", answer.status_code] += 1

    async def impossible(self) -> None:
        """Ask for what cannot be."""
        wanted, body = self._random.choice(IMPOSSIBLE)
        answer = await self._client.post(CHAT, json=body)
        assert answer.status_code == wanted, answer.text[:200]
        self.came["impossible", 400] += 1


def resident_bytes() -> int:
    """The memory of this process, in which the server runs."""
    gc.collect()
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_thousand_requests(model_directory: Path) -> None:
    async def storm(address: str) -> tuple[int, int, Counter[tuple[str, int]], str]:
        limits = httpx2.Limits(max_connections=AT_ONCE + 2)
        async with httpx2.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
            first = Storm(client, 1)
            await first.run(WARM)
            warm = resident_bytes()
            rest = Storm(client, 2)
            await rest.run(COUNT - WARM)
            while True:
                text = (await client.get("/metrics")).text
                if "edgelm_replies_under_way 0.0" in text:
                    break
                await asyncio.sleep(0.05)
            return warm, resident_bytes(), first.came + rest.came, text

    with served(model_directory) as address:
        warm, after, came, metrics = asyncio.run(storm(address))
    assert came == {("good", 200): 830, ("gone", 200): 100, ("nonsense", 400): 50, ("impossible", 400): 20}
    assert f'edgelm_requests_total{{path="{CHAT}",status="200"}} 930.0' in metrics
    assert after - warm < MOST_GROWTH_BYTES, f"{(after - warm) / 2**20:.1f} MiB"
    print(f"memory after {WARM} requests {warm / 2**20:.0f} MiB, after {COUNT} {after / 2**20:.0f} MiB")
