"""Cases in processes of their own, so that one which crashes or hangs is a row of the table and not its end."""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from proving.case import Case

LONGEST_S = 120.0


def proved(
    cases: Sequence[Case], layouts: Sequence[str], *, workers: int, prepare: Callable[[], None] | None = None
) -> Iterator[Any]:
    """Yield the outcomes of every case as they come, `workers` at a time.

    Args:
        prepare: run in each process before its first case, as a test breaks something on purpose.
    """
    waiting = list(enumerate(cases))[::-1]
    running: dict[Connection, tuple[Any, Case]] = {}
    context = multiprocessing.get_context("spawn")
    idle: list[tuple[Any, Connection]] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                process, pipe = idle.pop() if idle else _start(context, layouts, prepare)
                _, case = waiting.pop()
                pipe.send((case.family, case.variant))
                running[pipe] = (process, case)
            ready = wait(list(running), timeout=LONGEST_S)
            for pipe in ready or list(running):
                process, case = running.pop(pipe)
                try:
                    if not ready:
                        raise TimeoutError
                    yield from pipe.recv()
                    idle.append((process, pipe))
                except (EOFError, TimeoutError, ConnectionError) as error:
                    process.kill()
                    process.join()
                    yield from _lost(
                        case, layouts, "took too long" if not ready else f"crashed ({type(error).__name__})"
                    )
    finally:
        for process, pipe in [*idle, *((process, pipe) for pipe, (process, _) in running.items())]:
            pipe.close()  # an idle one ends by itself
            process.join(2 if (process, pipe) in idle else 0)
            process.kill()


def _lost(case: Case, layouts: Iterable[str], words: str) -> list[Any]:
    from proving.judge import Outcome

    return [
        Outcome(case.family, case.variant, layout, "failed", words=f"its process {words}")
        for layout in layouts
    ]


def _start(
    context: Any, layouts: Sequence[str], prepare: Callable[[], None] | None
) -> tuple[Any, Connection]:
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, tuple(layouts), prepare), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _work(pipe: Connection, layouts: tuple[str, ...], prepare: Callable[[], None] | None) -> None:
    import transformers

    from proving.cases import all_cases
    from proving.judge import prove
    from proving.towers import stand_in_for_timm

    stand_in_for_timm()
    transformers.utils.logging.disable_progress_bar()
    if prepare is not None:
        prepare()
    by_name = {(case.family, case.variant): case for case in all_cases()}
    while True:
        try:
            name = pipe.recv()
        except EOFError:
            return
        directory = Path(tempfile.mkdtemp(prefix="proof-"))
        try:
            pipe.send(prove(by_name[name], directory, layouts))
        finally:
            shutil.rmtree(directory, ignore_errors=True)
