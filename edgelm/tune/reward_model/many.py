"""Many prompts to their results: most side by side, and those that ask for the best of several answers one after the other,
since the answers of each already share steps.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from edgelm.errors import EdgeLMError
from edgelm.machine.power import kept_awake
from edgelm.progress import OnProgress, Progress
from edgelm.runtime.assemble import Ready
from edgelm.runtime.generation.completion import collect
from edgelm.runtime.job import Job
from edgelm.runtime.many.prompts import Task
from edgelm.runtime.many.results import BatchEvent, BatchResult
from edgelm.runtime.many.run import failed
from edgelm.runtime.worker import EngineThread
from edgelm.tune.reward_model.best_of import BestOf


def batch_results(
    thread: EngineThread[Ready],
    model: Path,
    tokenizer: Any,
    tasks: Sequence[Task],
    failures: Sequence[tuple[int, EdgeLMError]],
    rows: int | None,
    on_progress: OnProgress,
) -> Generator[BatchResult, None, None]:
    """Yield the result of every task as it is ready, after those that failed before anything was asked.

    Args:
        model: the directory of the model on the thread.
        rows: at most so many at once.
    """
    for index, error in failures:
        yield BatchResult(index, error=error)
    several = [task for task in tasks if task.options.best_of > 1]
    plain = [task for task in tasks if task.options.best_of == 1]
    with kept_awake():
        if plain or not several:
            job: Job[BatchEvent] = thread.share(lambda ready, cancel: ready.many(plain, cancel, rows=rows))
            with closing(job.events()) as events:
                for event in events:
                    if isinstance(event, BatchResult):
                        yield event
                    else:
                        on_progress(event.as_progress(already_done=len(failures)))
        done = len(failures) + len(plain)
        for number, task in enumerate(several, start=1):
            result = _best(task, thread, model, tokenizer)
            if result.completion is not None and result.completion.reason == "cancelled":
                return
            yield result
            on_progress(Progress("Answering", done + number, done + len(several), "prompts"))


def _best(task: Task, thread: EngineThread[Ready], model: Path, tokenizer: Any) -> BatchResult:
    try:
        ids = task.encode(tokenizer)
        asked = BestOf(ids, _as_judged(task, tokenizer), task.options, task.tools or None)
        return BatchResult(task.index, collect(asked.events(thread, model), task.options.grammar))
    except EdgeLMError as error:
        return failed(task.index, error)


def _as_judged(task: Task, tokenizer: Any) -> str | Sequence[Mapping[str, Any]]:
    """The prompt as a judge reads it."""
    content: Any = task.content
    if isinstance(content, str) or (content and isinstance(content[0], Mapping)):
        return content
    text: str = tokenizer.decode(list(content))
    return text
