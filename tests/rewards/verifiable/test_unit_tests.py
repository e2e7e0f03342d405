"""Code of answers in a process of its own: what passes, and what it cannot do."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from edgelm.rewards.reward import JudgedAnswer
from edgelm.rewards.verifiable.unit_tests import UnitTestReward, code_of

pytestmark = pytest.mark.slow


def share(code: str, *tests: str, seconds: float = 5.0) -> float | None:
    reward = UnitTestReward(seconds)
    try:
        return reward.score(
            [JudgedAnswer("q", f"Here:\n```python\n{code}\n```\nDone.", {"tests": list(tests)})]
        )[0]
    finally:
        reward.close()


def test_the_share_of_tests_that_pass() -> None:
    code = "import math\nclass P:\n    def area(self, r): return math.pi * r * r\ndef double(x): return 2 * x"
    assert share(
        code, "assert double(2) == 4", "assert double('a') == 'aa'", "assert P().area(1) == 3"
    ) == pytest.approx(2 / 3)


def test_code_that_ends_the_process_has_passed_nothing() -> None:
    assert share("import os\nos._exit(0)", "pass") == 0.0
    assert share("raise SystemExit(0)", "pass") == 0.0
    assert share("def f(: pass", "pass") == 0.0


def test_a_loop_and_a_flood_of_memory_end() -> None:
    assert share("while True:\n    pass", "pass", seconds=0.5) == 0.0
    if sys.platform == "linux":
        assert share("x = bytearray(4 * 10**9)", "pass") == 0.0


def test_there_is_no_network_no_process_and_no_file_elsewhere(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        tests = [
            f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 2)",
            "import subprocess; subprocess.run(['true'])",
            "import os; os.fork()",
            f"open({str(tmp_path / 'left')!r}, 'w')",
            f"import os; os.mkdir({str(tmp_path / 'folder')!r})",
        ]
        assert share(
            "x = 1", *tests, "open('here', 'w').write('a')\nassert open('here').read() == 'a'"
        ) == pytest.approx(1 / 6)
    assert list(tmp_path.iterdir()) == []


def test_a_process_left_behind_is_ended_and_nothing_waits_for_it() -> None:
    code = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()"
    assert share(code, "pass", seconds=1.0) == 1.0


def test_rows_without_tests_are_not_judged_and_one_source_is_one_test() -> None:
    reward = UnitTestReward()
    answers = [
        JudgedAnswer("q", "x = 1", {}),
        JudgedAnswer("q", "x = 1", {"tests": "assert x == 1\nassert x < 2"}),
    ]
    assert reward.score(answers) == [None, 1.0]
    reward.close()


def test_the_last_block_is_the_code() -> None:
    assert code_of("```python\na\n```\nbetter:\n```py\nb\n```") == "b\n"
    assert code_of("plain") == "plain"
    assert code_of("cut off: ```python\nc") == "c"
