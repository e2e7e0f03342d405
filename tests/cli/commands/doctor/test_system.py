"""What macOS's tools, the terminal and this Python say, as it is printed on a Mac and as edgelm reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgelm.cli.commands.doctor.system import (
    TOOLS,
    check_architecture,
    check_hidden_pth,
    check_power_assertion,
    check_terminal,
    tool_checks,
)

MAC = {
    "sw_vers": "ProductName:\t\tmacOS\nProductVersion:\t\t26.1\nBuildVersion:\t\t25B78\n",
    "vm_stat": "Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free: 10000.\nPages inactive: 20000.\n",
    "batt": "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1234567)\t81%; discharging; 4:02 remaining",
    "-g": "System-wide power settings:\nCurrently in use:\n standby              1\n powermode            2\n",
    "therm": "Note: No thermal warning level has been recorded\nCPU_Speed_Limit \t= 74\n",
    "com.apple.system.thermalpressurelevel": "com.apple.system.thermalpressurelevel 2\n",
    "kern.memorystatus_vm_pressure_level": "2\n",
    "AGXAccelerator": '      "gpu-core-count" = 40\n',
}
READ = {
    "sw_vers": "macOS 26.1 (25B78)",
    "vm_stat": "492 MB available",
    "pmset batt": "battery",
    "pmset": "high power",
    "pmset therm": "the CPU is held back",
    "notifyutil": "heavy",
    "sysctl kern.memorystatus_vm_pressure_level": "memory is short",
    "sysctl hw.memsize": "17179869184",
    "ioreg": "40 GPU cores",
}


def ask(*command: str) -> str:
    return next((answer for end, answer in MAC.items() if command[-1].endswith(end)), "17179869184\n")


def test_every_tools_answer_is_shown_whole_beside_what_is_read_from_it() -> None:
    found = {check.name: check for check in tool_checks(ask)}
    assert {name: found[name].value for name in READ} == READ
    assert found["pmset therm"].raw == MAC["therm"].strip()
    assert {check.status for check in found.values()} == {"ok"}


def test_a_tool_that_says_nothing_is_warned_of() -> None:
    found = list(tool_checks(lambda *_: ""))
    assert len(found) == len(TOOLS)
    for check, tool in zip(found, TOOLS, strict=True):
        assert check.status == "warn"
        assert tool.command[0] in (check.remedy or "")


def test_answers_of_another_kind_are_read_as_unknown() -> None:
    for tool in TOOLS:
        assert tool.read("Failed: nobody knows\n")


@pytest.mark.parametrize(
    ("machine", "is_mac", "translated", "status"),
    [("arm64", True, "", "ok"), ("x86_64", True, "1\n", "warn"), ("x86_64", True, "", "warn"), ("x86_64", False, "", "ok")],
)  # fmt: skip
def test_a_python_for_intel_is_warned_of(machine: str, is_mac: bool, translated: str, status: str) -> None:
    check = check_architecture(machine, is_mac=is_mac, ask=lambda *_: translated)
    assert check.status == status
    assert ("Rosetta" in check.value) == bool(translated)


def test_hidden_pth_files_are_found_and_how_to_show_them(tmp_path: Path) -> None:
    for name in ("edgelm.pth", "other.pth"):
        (tmp_path / name).write_text("/somewhere\n")
    assert check_hidden_pth([tmp_path]).status == "ok"
    check = check_hidden_pth([tmp_path], lambda path: path.name == "edgelm.pth")
    assert (check.status, check.value) == ("warn", "edgelm.pth")
    assert "chflags nohidden" in (check.remedy or "")
    (tmp_path / ".edgelm.pth").write_text("")
    assert check_hidden_pth([tmp_path]).value == ".edgelm.pth"


@pytest.mark.parametrize(
    ("environment", "status"),
    [
        ({"LANG": "en_US.UTF-8", "COLORTERM": "truecolor"}, "ok"),
        ({"LANG": "C"}, "warn"),
        ({"LC_ALL": "de_DE.ISO8859-1", "LANG": "en_US.UTF-8"}, "warn"),
        ({"LC_CTYPE": "UTF-8"}, "ok"),
        ({}, "ok"),
    ],
)
def test_the_terminal(environment: dict[str, str], status: str) -> None:
    check = check_terminal(environment)
    assert check.status == status
    assert all(f"{name}={value}" in check.value for name, value in environment.items())


def test_the_assertion_is_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from edgelm.machine import power

    monkeypatch.setattr(power.sys, "platform", "darwin")
    monkeypatch.setattr(power, "CAFFEINATE", tmp_path / "none")
    assert check_power_assertion().status == "warn"
    program = tmp_path / "caffeinate"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setattr(power, "CAFFEINATE", program)
    assert check_power_assertion().status == "ok"
    assert not power.is_held()
