"""The functions of a Python file, as tools. The file is run, so only ever one that the user names."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

from edgelm.errors import FormatError, NotFoundError
from edgelm.text.tools.tool import Tool, as_tools


def load_tools(file: Path) -> dict[str, Tool]:
    """Return the public functions that `file` itself defines, by name.

    Raises:
        NotFoundError: no such file.
        FormatError: it cannot be run, or defines no public function.
        OptionError: a function that cannot be described to a model.
    """
    if not file.is_file():
        raise NotFoundError(f"{file} does not exist, expected a Python file with functions")
    module = _run(file)
    functions = [
        function
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
    ]
    if not functions:
        raise FormatError(f"{file} defines no public function", hint="names with a leading _ are private")
    return as_tools(functions)


def _run(file: Path) -> ModuleType:
    name = f"edgelm_tools_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise FormatError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses and type hints look their module up.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise FormatError(f"{file} cannot be run: {type(error).__name__}: {error}") from error
    return module
