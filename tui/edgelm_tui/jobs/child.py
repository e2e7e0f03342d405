"""The child's side: `python -m edgelm_tui.jobs.child convert '{"source": …}'`.

Writes JSON lines: {"event": "progress", …}*, then {"event": "done", …} or {"event": "error", "message", "hint"}.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
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
    from edgelm.library.models import pull

    made = pull(settings["repo_id"], on_progress=_report)
    return {"name": made.name, "directory": str(made.directory)}


def _export_peft(settings: dict[str, Any]) -> dict[str, Any]:
    from edgelm.adapters.base import check_base
    from edgelm.adapters.files import read_adapter
    from edgelm.adapters.peft import export_peft
    from edgelm.library.models import resolve

    _report(Progress("Writing the adapter", 0, None, "files"))
    adapter = read_adapter(Path(settings["adapter"]))
    model = resolve(settings["model"])
    check_base(adapter, model)
    made = export_peft(adapter, Path(settings["output"]), model)
    return {"name": made.name, "directory": str(made)}


def _fuse(settings: dict[str, Any]) -> dict[str, Any]:
    from edgelm.adapters.fuse import fuse
    from edgelm.adapters.use import AdapterUse
    from edgelm.evaluate.fusing import FusedMeasure
    from edgelm.library.models import resolve

    _report(Progress("Building the adapter in", 0, None, "layers"))
    made = fuse(
        resolve(settings["model"]),
        [AdapterUse(Path(settings["adapter"]))],
        Path(settings["output"]),
        measure=FusedMeasure(on_progress=_report),
        keep_dense=settings["keep_dense"],
    )
    return {"name": made.directory.name, "directory": str(made.directory)}


_JOBS = {"convert": _convert, "pull": _pull, "peft": _export_peft, "fuse": _fuse}


def _report(progress: Progress) -> None:
    _say("progress", **dataclasses.asdict(progress))


def _say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
