"""What is light stays light: `import edgelm` and every `--help` import none of the heavy packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from edgelm.cli.table import COMMANDS

HEAVY = ("mlx", "mlx_lm", "transformers", "textual", "numpy", "huggingface_hub")
REPORT = f"""
import json, sys
{{}}
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]), file=sys.stderr)
"""
MAIN = "from edgelm.cli.main import main\nassert main({argv!r}) == 0"


def heavy_imports_of(code: str) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", REPORT.format(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stderr.splitlines()[-1])
    return found


def test_import_edgelm() -> None:
    assert heavy_imports_of("import edgelm") == []


def test_runs_are_read_and_told_what_to_do_without_mlx() -> None:
    assert heavy_imports_of("import edgelm.runs.chart, edgelm.runs.shelf, edgelm.tune.settings") == []


@pytest.mark.parametrize("argv", [["--help"], *([command.name, "--help"] for command in COMMANDS)])
def test_help(argv: list[str]) -> None:
    assert heavy_imports_of(MAIN.format(argv=argv)) == []


def test_the_app_can_be_drawn_before_mlx_is_imported() -> None:
    assert set(heavy_imports_of("import edgelm_tui.app")) <= {"textual"}
