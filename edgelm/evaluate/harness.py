"""lm-eval (EleutherAI's evaluation harness) tasks on a model of ours, where that extra is installed.

Tasks, prompts and metrics are lm-eval's; only the model behind them is edgelm. lm-eval is imported here and in
`harness_model`, nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgelm.errors import EdgeLMError, NotFoundError, OptionError, UnsupportedError
from edgelm.evaluate.quality import Subject
from edgelm.evaluate.scores import Estimate
from edgelm.machine.long_job import long_job
from edgelm.progress import OnProgress, ignore_progress

_ERROR_SUFFIX = "_stderr"


@dataclass(frozen=True, slots=True)
class TaskScore:
    """One metric of one task (or group of tasks)."""

    task: str
    metric: str
    """lm-eval's name: "acc", "acc_norm", "exact_match"; a filter that is not the default stands after a comma."""
    value: Estimate
    examples: int | None
    """How many were run; None for a group."""


@long_job("the tasks", "fewer --shots")
def run_tasks(
    model: Subject,
    tasks: Sequence[str],
    *,
    limit: int | None = None,
    shots: int | None = None,
    task_directory: Path | None = None,
    on_progress: OnProgress = ignore_progress,
) -> list[TaskScore]:
    """Run lm-eval's `tasks` on `model`.

    Args:
        limit: examples of each task; None is all of them.
        shots: solved examples in each prompt; None is what the task says.
        task_directory: more tasks, as lm-eval's YAML files.

    Raises:
        UnsupportedError: lm-eval is not installed.
        NotFoundError: there is no such task, or its data cannot be had.
        OptionError: a limit or number of shots that cannot be.
        NotFoundError, FormatError, FitError, …: about the model.
    """
    if not is_installed():
        raise UnsupportedError(
            "tasks need lm-eval, which is not installed", hint="pip install 'edgelm[eval]'"
        )
    _check(tasks, limit, shots)
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=None if task_directory is None else str(task_directory))
    _check_names(tasks, manager.all_tasks)
    from edgelm.evaluate.harness_model import HarnessModel

    adapter = HarnessModel(model.load(), on_progress)
    with _task_errors(tasks):
        results = simple_evaluate(
            adapter, tasks=list(tasks), limit=limit, num_fewshot=shots, task_manager=manager,
            log_samples=False, bootstrap_iters=1000,
        )  # fmt: skip
    return list(read_scores(results))


def is_installed() -> bool:
    """Return whether lm-eval is there."""
    return find_spec("lm_eval") is not None


def _check(tasks: Sequence[str], limit: int | None, shots: int | None) -> None:
    if not tasks:
        raise OptionError("no task was named", hint="--tasks arc_easy,hellaswag")
    if limit is not None and limit < 1:
        raise OptionError(f"limit is {limit}, expected at least 1")
    if shots is not None and shots < 0:
        raise OptionError(f"shots is {shots}, expected 0 or more")


def _check_names(tasks: Sequence[str], known: Sequence[str]) -> None:
    import difflib

    for task in tasks:
        if task not in known:
            near = difflib.get_close_matches(task, known, n=1)
            raise NotFoundError(
                f"lm-eval has no task {task!r}", hint=f"did you mean {near[0]}?" if near else None
            )


@contextmanager
def _task_errors(tasks: Sequence[str]) -> Iterator[None]:
    """Translate what lm-eval and datasets raise when a task's data cannot be had."""
    try:
        yield
    except EdgeLMError:
        raise
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise NotFoundError(
            f"lm-eval could not run {', '.join(tasks)}: {error}",
            hint="most tasks download their data from the Hugging Face Hub once",
        ) from error


def read_scores(results: Mapping[str, Any]) -> Iterator[TaskScore]:
    """Yield the figures in what `simple_evaluate` returns."""
    counts = results.get("n-samples", {})
    for task, metrics in results["results"].items():
        ran = counts.get(task, {}).get("effective")
        for key, value in metrics.items():
            name, _, kept = key.partition(",")
            if name.endswith(_ERROR_SUFFIX) or isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            if not kept:  # what is no metric has no filter: sample_len and the like
                continue
            error = metrics.get(f"{name}{_ERROR_SUFFIX},{kept}")
            shown = name if kept == "none" else f"{name}, {kept}"
            known = isinstance(error, (int, float))
            yield TaskScore(task, shown, Estimate(float(value), float(error) if known else float("nan")), ran)
