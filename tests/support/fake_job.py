"""A scripted child process: prints the JSON lines of a job, or of a training run, as its script says."""

from __future__ import annotations

import json
import os
import signal
import sys
import time


def say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def progress(done: int) -> None:
    say("progress", task="Downloading", done=done, total=100, unit="bytes", detail="")


def main(kind: str, script: str) -> int:
    match script:
        case "quick":
            progress(50)
            progress(100)
            say("done", name="made", directory="/nowhere/made")
        case "slow":
            for done in range(100):
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
    return 0


if __name__ == "__main__":
    try:
        code = main(sys.argv[1], sys.argv[2])
    except KeyboardInterrupt:
        say("error", message="cancelled", hint=None)
        code = 130
    sys.exit(code)
