"""A tiny model directory and chats to tune it on, and a process that starts runs quickly so that they can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from waiting import PATIENCE_S

from edgelm.runs.events import TuneEvent
from edgelm.tune.loop.begin import begin
from edgelm.tune.loop.training_run import TrainingRun
from edgelm.tune.request import TuneRequest
from edgelm.tune.settings import TuneSettings

SETTINGS: dict[str, Any] = {
    "batch_tokens": 128, "steps": 12, "dropout": 0.1, "learning_rate": 0.01, "rank": 4, "validate_every": 4,
    "checkpoint_every": 2, "compiled": False,
}  # fmt: skip


def write_chats(path: Path, count: int = 24) -> Path:
    rows = (
        {"messages": [
            {"role": "user", "content": f"what is {n}{' or so' * (n % 3)}"},
            {"role": "assistant", "content": f"the water number {n} boils"},
        ]}
        for n in range(count)
    )  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_pairs(path: Path, count: int = 24) -> Path:
    """Questions with a better and a worse answer."""
    rows = (
        {"prompt": f"what is {n}{' or so' * (n % 3)}", "chosen": f"the water number {n} boils",
         "rejected": f"number {n} is cold{' and wet' * (n % 2)}"}
        for n in range(count)
    )  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_judged(path: Path, count: int = 24) -> Path:
    """Questions with an answer that was good or bad."""
    rows = (
        {"prompt": f"what is {n}", "completion": f"the water {'boils' if n % 2 else 'is cold'} at {n}",
         "label": bool(n % 2)}
        for n in range(count)
    )  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def request(base: Path, data: Path, *, name: str | None = "run", **changes: Any) -> TuneRequest:
    own = {key: changes.pop(key) for key in list(changes) if key in TuneRequest.__dataclass_fields__}
    settings = TuneSettings.build(**{**SETTINGS, **changes})
    return TuneRequest(
        base, str(data), settings=settings, name=name, **{"answer_tokens": 0, "check_fit": False, **own}
    )


def run(asked: TuneRequest, **options: Any) -> list[TuneEvent]:
    session: TrainingRun = begin(asked, **options)
    return list(session.events())


ZYGOTE = """
import json, os, resource, signal, sys
import numpy, tokenizers, transformers
import edgelm.tune.loop.begin, edgelm.api
from edgelm.zoo.guards import keep_file_limit
with keep_file_limit():
    import mlx_lm.utils, mlx_lm.tokenizer_utils, mlx_lm.tuner.lora, mlx_lm.tuner.dora, mlx_lm.models.llama, mlx_lm.models.cache

def train(task):
    from edgelm.runs.folder import find_run
    from edgelm.tune.request import TuneRequest
    from edgelm.tune.loop.begin import begin, resume
    os.environ["EDGELM_HOME"] = task["home"]
    if task.get("file_limit"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (task["file_limit"],) * 2)
    if task.get("often"):  # a reference is told and kept with every batch
        from edgelm.tune.loop import reference_phase
        from edgelm.tune.reference import precompute
        reference_phase.TOLD_EVERY_S = precompute.PART_S = 0.0
    from edgelm import paths
    if (paths.runs() / "run" / "config.json").exists():
        session = resume(find_run("run"))
    else:
        session = begin(TuneRequest.from_json(task["request"]))
    for _ in session.events():
        os.write(1, b'{"event": 1}\\n')

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            train(json.loads(line))
            code = 0
        except BaseException as error:
            os.write(1, (json.dumps({"error": str(error)}) + "\\n").encode())
        finally:
            os._exit(code)
    print(json.dumps({"pid": pid}), flush=True)
    _, status = os.waitpid(pid, 0)
    print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)
"""


class Zygote:
    """A process that has imported everything and forks for each run: seconds become tenths."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", ZYGOTE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
        )

    def train(
        self,
        home: Path,
        asked: TuneRequest,
        *,
        kill_after: int | None = None,
        delay_s: float = 0.0,
        **task: Any,
    ) -> dict[str, Any]:
        """Begin or resume the run in `home`; SIGKILL it once it has reported so many events, and `delay_s` after that."""
        assert self._process.stdin is not None
        task = {"home": str(home), "request": asked.to_json(), **task}
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        pid = self._read()["pid"]
        if kill_after is not None:
            self._read_events(kill_after)
            time.sleep(delay_s)
            with suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.kill(pid, signal.SIGKILL)
        said = self._read()
        return {**said, **self._read()} if "error" in said else said

    def _read_events(self, count: int) -> None:
        assert self._process.stdout is not None
        for _ in range(count):
            assert "event" in self._process.stdout.readline()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        message: dict[str, Any] = {"event": 1}
        while "event" in message:
            message = json.loads(self._process.stdout.readline())
        return message

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=PATIENCE_S)
