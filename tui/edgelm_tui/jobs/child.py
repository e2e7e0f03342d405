"""The child's side: `python -m edgelm_tui.jobs.child convert '{"source": …}'`.

Writes JSON lines: {"event": "progress", …}*, then {"event": "done", …} or {"event": "error", "message", "hint"}.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

from edgelm.errors import EdgeLMError
from edgelm.progress import Progress


def main(argv: list[str]) -> int:
    """Do one job."""
    kind, settings = argv[0], json.loads(argv[1])
    try:
        result = _JOBS[kind](settings)
    except EdgeLMError as error:
        _say("error", message=error.message, hint=error.hint)
        return 1
    except KeyboardInterrupt:
        _say("error", message="cancelled", hint=None)
        return 130
    _say("done", **result)
    return 0


def _convert(settings: dict[str, Any]) -> dict[str, Any]:
    from edgelm_converters.convert import convert

    made = convert(**settings, on_progress=_report)
    return {"name": made.directory.name, "directory": str(made.directory)}


def _pull(settings: dict[str, Any]) -> dict[str, Any]:
    from edgelm.model.library import pull

    made = pull(settings["repo_id"], on_progress=_report)
    return {"name": made.name, "directory": str(made.directory)}


_JOBS = {"convert": _convert, "pull": _pull}


def _report(progress: Progress) -> None:
    _say("progress", **dataclasses.asdict(progress))


def _say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
