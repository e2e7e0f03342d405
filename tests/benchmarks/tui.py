"""How smooth the app stays while an answer comes at 60 token/s, beside Textual's own MarkdownStream.

    python tests/benchmarks/tui.py            everything, each in a process of its own
    python tests/benchmarks/tui.py ours prose one of them

Loop lag is how much later than asked a 5 ms timer fires; key latency is from a key press to the changed prompt. The app is
the whole one, with its database, over a scripted engine; the peer is a scrolling container of Markdown widgets with
`Markdown.get_stream`. Busy is the processor time that the interface's thread used between two of those timers: what the lag
would be if nothing else ran on the machine, which on a shared one is the number to compare.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

RATE = 60
SECONDS = 10.0
SIZE = (110, 40)
HISTORY = 500
PEER_HISTORY = 150
_PERIOD_S = 0.005
_SHOWN = (
    "lag_p50_ms", "lag_p95_ms", "lag_max_ms", "busy_p95_ms", "busy_max_ms", "key_p95_ms", "repaints_per_s", "cpu_share",
    "widgets", "memory_mb",
)  # fmt: skip
_PROSE = "A sentence of plain words that goes on for a while, with *some* emphasis and `code` in it. "
TEXTS = {
    "prose": (_PROSE * 4 + "\n\n") * 20,
    "list": "".join(f"- item {n} with a few words and a `name` in it\n" for n in range(300)),
    "table": "| name | size | note |\n|---|---|---|\n"
    + "".join(f"| row {n} | {n} MB | some words |\n" for n in range(200)),
    "code": "```python\n"
    + "".join(f"def f{n}(x: int) -> int:\n    return x + {n}\n" for n in range(200))
    + "```\n",
    "history": (_PROSE * 4 + "\n\n") * 20,
}


def pieces(kind: str) -> list[str]:
    """About as many pieces as tokens would be."""
    text = TEXTS[kind]
    cut = [text[at : at + 4] for at in range(0, len(text), 4)]
    return cut[: int(RATE * SECONDS)]


class Watch:
    """Samples the event loop, and presses a key four times a second."""

    def __init__(self, press: Callable[[], Awaitable[None]]) -> None:
        self.lags: list[float] = []
        self.busy: list[float] = []
        self.keys: list[float] = []
        self._press = press
        self._on = True

    async def lag(self) -> None:
        while self._on:
            began, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(_PERIOD_S)
            self.lags.append(time.perf_counter() - began - _PERIOD_S)
            self.busy.append(time.thread_time() - cpu)

    async def keyboard(self) -> None:
        while self._on:
            await asyncio.sleep(0.25)
            began = time.perf_counter()
            await self._press()
            self.keys.append(time.perf_counter() - began)

    def stop(self) -> None:
        self._on = False


def at(share: float, values: list[float]) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)] * 1000 if values else 0.0


def count_repaints(app: object) -> list[float]:
    """Moments at which something was sent to the terminal."""
    moments: list[float] = []
    display = app._display  # type: ignore[attr-defined]

    def counted(screen: object, renderable: object) -> None:
        moments.append(time.perf_counter())
        display(screen, renderable)

    app._display = counted  # type: ignore[attr-defined]
    return moments


async def measure(app: object, watch: Watch, feed: Callable[[], Awaitable[None]]) -> dict[str, float]:
    repaints = count_repaints(app)
    tasks = [asyncio.create_task(watch.lag()), asyncio.create_task(watch.keyboard())]
    began, cpu = time.perf_counter(), time.process_time()
    await feed()
    elapsed, used = time.perf_counter() - began, time.process_time() - cpu
    watch.stop()
    await asyncio.gather(*tasks)
    return {
        "lag_p50_ms": at(0.5, watch.lags),
        "lag_p95_ms": at(0.95, watch.lags),
        "lag_max_ms": max(watch.lags) * 1000,
        "busy_p95_ms": at(0.95, watch.busy),
        "busy_max_ms": max(watch.busy) * 1000,
        "key_p95_ms": at(0.95, watch.keys),
        "repaints_per_s": len(repaints) / elapsed,
        "cpu_share": used / elapsed,
        "widgets": len(list(app.screen.walk_children())),  # type: ignore[attr-defined]
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        / (1e6 if sys.platform == "darwin" else 1e3),
    }


async def ours(kind: str) -> dict[str, float]:
    os.environ["EDGELM_HOME"] = tempfile.mkdtemp()
    from app_driver import MEMORY
    from scripted_engine import ScriptedEngine
    from textual import events

    from edgelm import paths
    from edgelm.runtime.events import Text
    from edgelm.store.chats import Chats
    from edgelm_tui.app import EdgeLMApp
    from edgelm_tui.engine.client import EngineClient
    from edgelm_tui.engine.events import FitKnown

    class Paced(ScriptedEngine):
        """Sixty pieces a second."""

        def _pieces(self, text: str) -> Iterator[Text]:  # type: ignore[override]
            began = time.perf_counter()
            for n, piece in enumerate(pieces(kind)):
                time.sleep(max(0.0, began + n / RATE - time.perf_counter()))
                yield Text(piece)

    if kind == "history":
        with Chats(paths.database()) as chats:
            session = chats.create(model="tiny", title="long")
            last = None
            for n in range(HISTORY):
                text = (
                    f"question {n}"
                    if n % 2 == 0
                    else _PROSE * 3 + "\n\n- one\n- two\n\n```python\nprint(1)\n```\n"
                )
                last = chats.add(session.id, last, "assistant" if n % 2 else "user", text, model="tiny").id
    engine = Paced()
    client = EngineClient(engine.load, lambda: ["tiny"], lambda name: FitKnown(name, "fits", ""))
    app = EdgeLMApp(client, memory=MEMORY)
    try:
        async with app.run_test(size=SIZE) as pilot:
            while app.services.state.model is None or app.services.chat is None:
                await pilot.pause(0.05)
            chat = app.services.chat
            assert chat is not None
            if kind == "history":
                await chat.open_chat.open(1)
                await pilot.pause(1.0)

            async def press() -> None:
                before = chat.open_chat.prompt.text
                app.post_message(events.Key("a", "a"))
                while chat.open_chat.prompt.text == before:
                    await asyncio.sleep(0.001)

            async def feed() -> None:
                chat.open_chat.prompt.say("go")
                await chat.on_chat_prompt_submitted(chat.open_chat.prompt.Submitted("go"))
                while app.services.desk.busy:
                    await asyncio.sleep(0.05)

            return await measure(app, Watch(press), feed)
    finally:
        app.close()


async def peer(kind: str) -> dict[str, float]:
    from textual import events
    from textual.app import App, ComposeResult
    from textual.containers import VerticalScroll
    from textual.widgets import Input, Markdown

    class Peer(App[None]):
        def compose(self) -> ComposeResult:
            with VerticalScroll(id="all"):
                if kind == "history":
                    for n in range(PEER_HISTORY):
                        text = (
                            f"question {n}"
                            if n % 2 == 0
                            else _PROSE * 3 + "\n\n- one\n- two\n\n```python\nprint(1)\n```\n"
                        )
                        yield Markdown(text)
                yield Markdown(id="answer")
            yield Input()

    app = Peer()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(1.0)
        app.query_one("#all").anchor()
        line = app.query_one(Input)
        line.focus()

        async def press() -> None:
            before = line.value
            app.post_message(events.Key("a", "a"))
            while line.value == before:
                await asyncio.sleep(0.001)

        async def feed() -> None:
            stream = Markdown.get_stream(app.query_one("#answer", Markdown))
            began = time.perf_counter()
            for n, piece in enumerate(pieces(kind)):
                await asyncio.sleep(max(0.0, began + n / RATE - time.perf_counter()))
                await stream.write(piece)
            await stream.stop()

        return await measure(app, Watch(press), feed)


def first_frame_s() -> tuple[float, float]:
    """From starting the process to the tabs on the terminal: seconds, and seconds of processor time."""
    import pty
    import select

    master, slave = pty.openpty()
    environment = {
        **os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", "EDGELM_HOME": tempfile.mkdtemp(),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "edgelm"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
    )
    os.close(slave)
    seen, elapsed = b"", float("nan")
    while time.perf_counter() - began < 20:
        if select.select([master], [], [], 0.01)[0]:
            seen += os.read(master, 65536)
        if b"Library" in seen:
            elapsed = time.perf_counter() - began
            break
    child.kill()
    _, _, usage = os.wait4(child.pid, 0)
    os.close(master)
    return elapsed, usage.ru_utime + usage.ru_stime


def main() -> None:
    if len(sys.argv) == 3:
        which = {"ours": ours, "peer": peer}[sys.argv[1]]
        print(json.dumps(asyncio.run(which(sys.argv[2]))))
        return
    frames = [first_frame_s() for _ in range(5)]
    walls, cpus = sorted(wall for wall, _ in frames), sorted(cpu for _, cpu in frames)
    print(
        f"first frame: {walls[2]:.2f} s ({walls[0]:.2f} at best), of which processor {cpus[2]:.2f} s ({cpus[0]:.2f})"
    )
    columns = ("lag p50", "p95", "max", "busy p95", "max", "key p95", "paint/s", "cpu", "widgets", "MB")
    print(" " * 23 + "".join(column.rjust(9) for column in columns))
    for kind in TEXTS:
        for which, name in (("ours", "edgelm"), ("peer", "MarkdownStream")):
            done = subprocess.run(
                [sys.executable, __file__, which, kind],
                capture_output=True,
                text=True,
                check=False,
                timeout=600,
            )
            if done.returncode != 0:
                print(f"{kind:8} {name:13} failed: {done.stderr.strip().splitlines()[-1:]}")
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            values = [found[name] for name in _SHOWN]
            shown = [f"{value:.0%}" if value is found["cpu_share"] else f"{value:.1f}" for value in values]
            print(f"{kind:8} {name:14}" + "".join(text.rjust(9) for text in shown), flush=True)
    print(f"history: {HISTORY} messages in edgelm, {PEER_HISTORY} in the peer")


if __name__ == "__main__":
    main()
