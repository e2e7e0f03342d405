"""How soon an answer stops: from the Esc key to the idle screen, to the engine's end event, and to an engine that is free.

    python tests/benchmarks/stop.py [MODEL]        of the library (EDGELM_HOME); default smollm2-135m-instruct-4bit

The whole app with the real model. Stops while the model is loaded, at chance moments of reading a prompt of some 2,000
tokens, and of writing. The screen counts as idle at its first repaint after the answer was put down as stopped. The engine is
free when it takes the next task: a chunk of the prompt is broken off between two layers, and what is left of it is computed
behind the end event, so that nothing computed is lost.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct-4bit"
ROUNDS = 7
PROMPT_WORDS = 1500
WORDS = (
    "river",
    "stone",
    "early",
    "window",
    "seven",
    "garden",
    "of",
    "the",
    "under",
    "winter",
    "carry",
    "paper",
    "blue",
)


def prompt(seed: int) -> str:
    """Some 2,000 tokens that no cache knows."""
    draw = random.Random(seed)
    return " ".join(
        f"{draw.choice(WORDS)}{draw.randrange(10) if n % 4 == 0 else ''}" for n in range(PROMPT_WORDS)
    )


async def until(is_so: Callable[[], bool], pause_s: float = 0.002) -> None:
    while not is_so():
        await asyncio.sleep(pause_s)


def spread(name: str, seconds: list[float]) -> None:
    ms = sorted(value * 1000 for value in seconds)
    print(f"  {name:28} median {ms[len(ms) // 2]:7.1f} ms   most {ms[-1]:7.1f} ms   of {len(ms)}", flush=True)


async def measure() -> None:
    from textual import events

    from edgelm_tui.app import EdgeLMApp
    from edgelm_tui.engine.client import EngineClient

    class Watched(EngineClient):
        ended_at = free_at = 0.0

        def _answer(self, job: Any) -> None:
            super()._answer(job)
            self.ended_at = time.perf_counter()

        def note_when_free(self) -> None:
            self._model._thread.call(lambda _: None)
            self.free_at = time.perf_counter()

    client = Watched()
    app = EdgeLMApp(client)
    painted: list[float] = []
    display = app._display

    def counted(screen: Any, renderable: Any) -> None:
        display(screen, renderable)
        painted.append(time.perf_counter())

    app._display = counted  # type: ignore[method-assign]

    async def stop(is_idle: Callable[[], bool]) -> tuple[float, float]:
        """Presses Esc; when, and when the screen was idle."""
        began = time.perf_counter()
        app.post_message(events.Key("escape", None))
        await until(is_idle, 0.0005)
        idle = time.perf_counter()
        await until(lambda: painted[-1] >= idle, 0.0005)
        return began, painted[-1] - began

    async def stopped_answers(name: str, ready: Callable[[int], Awaitable[None]]) -> None:
        screens, ends, frees = [], [], []
        for number in range(ROUNDS):
            await ready(number)
            began, screen_s = await stop(lambda: not app.services.desk.busy)
            client.free_at = 0.0
            client._tasks.put(client.note_when_free)
            await until(lambda: client.free_at > 0)
            screens.append(screen_s)
            ends.append(client.ended_at - began)
            frees.append(client.free_at - began)
            await asyncio.sleep(0.1)
        print(name)
        spread("Esc to the idle screen", screens)
        spread("Esc to the end event", ends)
        spread("Esc to a free engine", frees)

    async with app.run_test(size=(110, 36)) as pilot:
        await until(lambda: app.services.chat is not None and app.services.state.is_listed)
        chat = app.services.chat
        assert chat is not None
        screens = []
        for _ in range(3):
            app.services.models.load(MODEL)
            await asyncio.sleep(0.4)
            screens.append((await stop(lambda: app.services.state.loading is None))[1])
            await until(client._tasks.empty)
            await asyncio.sleep(1.0)
        print("while a model is loaded (it goes on behind the screen, and is let go)")
        spread("Esc to the idle screen", screens)
        app.services.models.load(MODEL)
        await until(lambda: app.services.state.model is not None)

        async def ask(text: str) -> None:
            chat.open_chat.prompt.say("")
            await chat.action_new()
            await chat.on_chat_prompt_submitted(chat.open_chat.prompt.Submitted(text))

        async def reading(number: int) -> None:
            await ask(prompt(number))
            await until(
                lambda: app.services.desk.current is not None and app.services.desk.current.count.prompt > 0
            )
            await asyncio.sleep(random.Random(number).uniform(0.05, 3.0))
            assert app.services.desk.current is not None
            if number == 0:
                print(f"prompt of {app.services.desk.current.count.prompt:,} tokens")
            assert app.services.desk.current.count.first is None, "the prompt was read already"

        async def writing(number: int) -> None:
            await ask(f"Tell me a very long story about {WORDS[number]}.")
            await until(
                lambda: app.services.desk.current is not None and app.services.desk.current.count.pieces > 5
            )

        await stopped_answers("while the prompt is read", reading)
        await stopped_answers("while the answer is written", writing)
        await pilot.pause()
    app.close()


if __name__ == "__main__":
    asyncio.run(measure())
