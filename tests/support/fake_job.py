"""A scripted child process: prints the JSON lines of a job, or of a training run, as its script says."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path


def say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def progress(done: int) -> None:
    say("progress", task="Downloading", done=done, total=2000, unit="bytes", detail="")


def main(kind: str, script: str) -> int:
    match script:
        case "slow":
            for done in range(2000):
                progress(done)
                time.sleep(0.05)
            say("done", name="made", directory="/nowhere/made")
        case "fail":
            say("error", message="no such model", hint="look again")
            return 1
        case "crash":
            progress(10)
            print("Traceback: out of memory", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        case "once":  # fails, but not when it is tried again
            mark = Path(os.environ["EDGELM_HOME"], "tried")
            if not mark.exists():
                mark.parent.mkdir(parents=True, exist_ok=True)
                mark.touch()
                say("error", message="no such model", hint="look again")
                return 1
            say("done", name="made", directory="/nowhere/made")
        case _:
            progress(1000)
            progress(2000)
            say("done", name="made", directory="/nowhere/made")
    return 0


if __name__ == "__main__":
    try:
        code = main(sys.argv[1], sys.argv[2])
    except KeyboardInterrupt:
        say("error", message="cancelled", hint=None)
        code = 130
    sys.exit(code)
