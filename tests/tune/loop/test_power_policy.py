"""What macOS and Linux print when a laptop should be left alone, and how often they are asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgelm.tune.loop import power_policy
from edgelm.tune.loop.power_policy import PowerPolicy

BATTERY = "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t81%; discharging; 4:02 remaining"
MAINS = "Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t100%; charged; 0:00 remaining"


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (power_policy.parse_pmset_battery, BATTERY, True),
        (power_policy.parse_pmset_battery, MAINS, False),
        (power_policy.parse_pmset_battery, "", False),
        (power_policy.parse_thermal_level, "com.apple.system.thermalpressurelevel 0", False),
        (power_policy.parse_thermal_level, "com.apple.system.thermalpressurelevel 1", False),
        (power_policy.parse_thermal_level, "com.apple.system.thermalpressurelevel 2", True),
        (power_policy.parse_thermal_level, "Failed", False),
        (power_policy.parse_speed_limit, "CPU_Scheduler_Limit \t= 100\nCPU_Speed_Limit \t= 74", True),
        (power_policy.parse_speed_limit, "CPU_Speed_Limit \t= 100", False),
        (power_policy.parse_speed_limit, "Note: No thermal warning level has been recorded", False),
        (power_policy.parse_pressure_level, "1\n", False),
        (power_policy.parse_pressure_level, "2\n", True),
        (power_policy.parse_pressure_level, "4\n", True),
        (power_policy.parse_pressure_level, "sysctl: unknown oid", False),
        (
            power_policy.parse_pressure_stall,
            "some avg10=40.00 avg60=0\nfull avg10=22.10 avg60=1.00 avg300=0 total=1",
            True,
        ),
        (
            power_policy.parse_pressure_stall,
            "some avg10=40.00 avg60=0\nfull avg10=2.10 avg60=1.00 avg300=0 total=1",
            False,
        ),
        (power_policy.parse_pressure_stall, "", False),
    ],
)
def test_what_is_printed(parse: object, text: str, expected: bool) -> None:
    assert parse(text) is expected  # type: ignore[operator]


def write(path: Path, **files: str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (path / name).write_text(content + "\n")


def test_a_linux_laptop_on_battery(tmp_path: Path) -> None:
    assert not power_policy.on_battery_by(tmp_path)
    write(tmp_path / "BAT0", status="Discharging")
    assert power_policy.on_battery_by(tmp_path)
    write(tmp_path / "AC", online="1")
    assert not power_policy.on_battery_by(tmp_path)
    write(tmp_path / "AC", online="0")
    assert power_policy.on_battery_by(tmp_path)


def test_a_linux_laptop_that_is_hot(tmp_path: Path) -> None:
    zone = tmp_path / "thermal_zone0"
    write(zone, temp="61000", trip_point_0_type="critical", trip_point_0_temp="50000")
    assert not power_policy.too_hot_by(tmp_path), "a critical point is another thing"
    write(zone, trip_point_1_type="passive", trip_point_1_temp="95000")
    assert not power_policy.too_hot_by(tmp_path)
    write(zone, temp="95000")
    assert power_policy.too_hot_by(tmp_path)


def test_macos_is_asked_through_its_own_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "batt": BATTERY,
        "com.apple.system.thermalpressurelevel": "x thermalpressurelevel 3",
        "therm": "",
    }
    monkeypatch.setattr(power_policy.sys, "platform", "darwin")
    monkeypatch.setattr(power_policy, "output_of", lambda *command: answers.get(command[-1], "4"))
    assert all(power_policy.holds(reason) for reason in ("battery", "heat", "pressure"))
    answers.update({"batt": MAINS, "com.apple.system.thermalpressurelevel": "x thermalpressurelevel 0"})
    assert not power_policy.holds("battery")
    assert not power_policy.holds("heat")


def test_it_is_asked_now_and_then_and_the_first_reason_is_said() -> None:
    now, asked = 0.0, []

    def look(reason: str) -> bool:
        asked.append(reason)
        return reason == "heat"

    policy = PowerPolicy(("battery", "heat", "pressure"), look, clock=lambda: now)
    assert policy.reason_to_pause() == "heat"
    now = 9.0
    assert policy.reason_to_pause() == "heat"
    assert asked == ["battery", "heat"]
    now = 10.0
    policy.reason_to_pause()
    assert asked == ["battery", "heat"] * 2
    assert PowerPolicy((), look, clock=lambda: now).reason_to_pause() is None
