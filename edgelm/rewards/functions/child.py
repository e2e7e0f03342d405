"""The process of a reward function: calls it for every line of JSON on standard input. Imports nothing of edgelm.

    python child.py FILE NAME

First a line `{}` or `{"error", "hint"}`, then for every request `{"prompts", "completions", …}` a line `{"rewards"}` or
`{"error"}`. What the function prints goes to standard error.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, TextIO


def main(path: str, name: str, requests: TextIO, answers: TextIO) -> None:
    """Serve requests until their end."""
    try:
        function = load_function(path, name)
    except BaseException as error:  # noqa: BLE001 - the file is anybody's code
        traceback.print_exc()
        _say(answers, {"error": f"cannot be loaded: {_told(error)}"})
        return
    if not callable(function):
        known = "is no function" if function is not None else "is not in the file"
        _say(
            answers,
            {"error": known, "hint": f"define a function {name}(prompts, completions, **columns) there"},
        )
        return
    _say(answers, {})
    for line in requests:
        _say(answers, _called(function, json.loads(line)))


def load_function(path: str, name: str) -> Any:
    """Import the file, whose neighbours it may import, and return what `name` is there, else None."""
    sys.path.insert(0, str(Path(path).parent))
    spec = importlib.util.spec_from_file_location("edgelm_reward", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return getattr(module, name, None)


def _called(function: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        names = {parameter.name for parameter in parameters}
        arguments = {key: value for key, value in arguments.items() if key in names}
    try:
        given = function(**arguments)
        return {"rewards": given if isinstance(given, (str, dict)) else [_plain(value) for value in given]}
    except BaseException as error:  # noqa: BLE001 - the function is anybody's code
        traceback.print_exc()
        return {"error": f"raised {_told(error)}"}


def _plain(value: Any) -> Any:
    """Numbers of numpy, torch and MLX as Python's; what is no number stays, so that it can be told."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    item = getattr(value, "item", None)
    return item() if callable(item) else repr(value)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _say(answers: TextIO, value: Any) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


if __name__ == "__main__":
    # The pipe to the parent is kept apart from print().
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    main(sys.argv[1], sys.argv[2], sys.stdin, own)
