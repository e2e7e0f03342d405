"""The library: table, details, lineage, deletion, Hub search, jobs in child processes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from app_driver import Driver, running
from fake_hub import FakeHub
from furniture import install, install_adapter
from textual.widgets import DataTable, Input, OptionList, Static

from edgelm.hub.search import HubModel
from edgelm_tui.screens.library.details import Details
from edgelm_tui.screens.library.entries import Entry, ago, arranged, lineage
from edgelm_tui.screens.library.exports import exports_of, to_directory
from edgelm_tui.screens.library.hub_search import HubScreen
from edgelm_tui.screens.library.job_list import JobList
from edgelm_tui.screens.library.screen import LibraryScreen
from edgelm_tui.shell.dialogs.questions import AskLine, Choose, Confirm


async def shelf(it: Driver, count: int) -> LibraryScreen:
    await it.press("f3")
    screen = it.app.screen
    assert isinstance(screen, LibraryScreen)
    await it.until(
        lambda: len(screen._shown) == count and screen.query_one(DataTable).row_count == count, "listed"
    )
    return screen


async def test_models_and_adapters_with_their_details(home: Path) -> None:
    install(home)
    install_adapter(home, "poet", "tiny")
    async with running(size=(140, 40)) as it:
        screen = await shelf(it, 2)
        assert [entry.name for entry in screen._shown] == ["poet", "tiny"]
        await it.press("down")
        await it.until(lambda: "fits" in it.screen_text, "priced")
        for text in (
            "4.5",
            "KL 0.012",
            "org/base",
            "mit",
            "2,048 tokens",
            "└ tiny",
            "poet (adapter)",
            "3 Q4_1 → 4-bit",
        ):
            assert text in it.screen_text, text
        await it.press("up")
        assert "rank" in str(screen.query_one(Details).query_one("Static").content)  # type: ignore[attr-defined]


async def test_filter_and_sort(home: Path) -> None:
    for name, bits in (("alpha", 8.5), ("beta", 4.5), ("gamma", 2.5)):
        install(home, name, bits_per_weight=bits)
    async with running(["alpha"]) as it:
        screen = await shelf(it, 3)
        await it.press("slash", *"mm")
        assert [entry.name for entry in screen._shown] == ["gamma"]
        await it.press("escape")
        assert len(screen._shown) == 3
        await it.press("s", "s")
        assert [entry.name for entry in screen._shown] == ["gamma", "beta", "alpha"]
        await it.press("slash", *"nothing like it", "enter")
        assert "nothing matches" in it.screen_text


async def test_enter_chats_with_the_model(home: Path) -> None:
    install(home)
    async with running(["tiny", "other"]) as it:
        await it.press("escape")
        await shelf(it, 1)
        await it.press("enter")
        await it.until(
            lambda: it.app.current_mode == "chat" and it.app.services.state.model is not None, "chatting"
        )
        assert it.status.startswith("tiny")


async def test_enter_chats_with_an_adapter_on_its_base(home: Path) -> None:
    install(home)
    adapter = install_adapter(home, "poet", "tiny")
    install_adapter(home, "stray", "gone")
    async with running() as it:
        await shelf(it, 3)
        await it.press("enter")
        await it.until(lambda: it.status.startswith("tiny + poet"), "loaded")
        await it.ask("hello")
        assert it.engine.models[-1].adapter == str(adapter)
        await it.press("f3")
        await it.press("down", "enter")
        assert "its base gone is not installed" in it.toasts


async def test_delete_asks_and_says_what_it_freed(home: Path) -> None:
    directory = install(home)
    async with running() as it:
        screen = await shelf(it, 1)
        await it.press("x")
        assert isinstance(it.app.screen, Confirm)
        await it.press("escape")
        assert directory.exists()
        await it.press("x", "y")
        await it.until(lambda: not directory.exists() and not screen._shown, "gone")
        await it.until(lambda: "freed" in it.toasts, "said")
        assert "The library is empty" in it.screen_text


async def test_a_broken_model_is_shown_with_its_problem(home: Path) -> None:
    (home / "models" / "broken").mkdir(parents=True)
    async with running(["x"]) as it:
        await shelf(it, 1)
        assert "! broken" in it.screen_text
        await it.press("enter")
        await it.until(lambda: "config.json" in it.toasts, "said")


async def test_details_where_there_is_no_room(home: Path) -> None:
    install(home)
    async with running(size=(80, 24)) as it:
        await shelf(it, 1)
        assert "Lineage" not in it.screen_text
        await it.press("i")
        assert "Lineage" in it.screen_text
        await it.press("escape")
        assert "Lineage" not in it.screen_text


async def test_search_the_hub_and_get_a_model(fake_hub: FakeHub, home: Path) -> None:
    fake_hub.add("org/tiny-mlx", {}, tags=["mlx"])
    fake_hub.add("org/tiny-base", {})
    async with running() as it:
        await it.press("f3", "h")
        await it.press(*"tiny", "enter")
        await it.until(lambda: "org/tiny-mlx" in it.screen_text, "found")
        assert "MLX" in it.screen_text
        await it.press("enter")
        await it.until(lambda: bool(it.app.services.jobs.jobs), "queued")
        assert (it.app.services.jobs.jobs[0].kind, it.app.services.jobs.jobs[0].settings) == (
            "pull",
            {"repo_id": "org/tiny-mlx"},
        )
        await it.press("h")
        await it.press(*"base", "enter")
        await it.until(lambda: "org/tiny-base" in it.screen_text, "found")
        await it.press("f8")
        assert it.app.services.jobs.jobs[1].settings == {"source": "org/tiny-base", "bits": 8}


async def test_a_search_without_a_network(home: Path, fake_hub: FakeHub) -> None:
    fake_hub.fail["api"] = 403
    async with running() as it:
        await it.press("f3", "h")
        await it.press(*"tiny", "enter")
        await it.until(lambda: "error:" in it.screen_text and "403" in it.screen_text, "said so")
        await it.press("escape")
        assert isinstance(it.app.screen, LibraryScreen)


async def test_an_offline_search_says_so_at_once(
    home: Path, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens at the address: the first try says so, and nothing is tried again."""
    tries: list[object] = []

    def refused(address: tuple[str, int], timeout: float) -> None:
        tries.append((address, timeout))
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("edgelm.hub.search.getproxies", dict)
    monkeypatch.setattr("edgelm.hub.search.socket.create_connection", refused)
    async with running() as it:
        await it.press("f3", "h")
        await it.press(*"tiny", "enter")
        said = it.app.screen.query_one("#said", Static)
        await it.until(lambda: "cannot be reached for the search for 'tiny'" in str(said.content), "said so")
        assert str(said.content).endswith("Network is unreachable\nhint: check the network, then try again")
    assert len(tries) == 1
    assert not fake_hub.requests


async def test_a_search_can_be_given_up_and_has_an_end(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def slow(_: str) -> list[HubModel]:
        gate.wait(60)
        return []

    monkeypatch.setattr("edgelm_tui.screens.library.hub_search.search_models", slow)
    async with running() as it:
        try:
            await it.press("f3", "h")
            screen = it.app.screen
            assert isinstance(screen, HubScreen)
            await it.press(*"tiny", "enter")
            await it.until(lambda: "searching… Esc gives up" in it.screen_text, "searching")
            await it.press("escape")
            assert "given up; Enter searches" in it.screen_text
            assert it.app.screen is screen
            await it.press("enter")
            await it.until(lambda: screen.is_searching, "searching again")
            screen._too_late()
            await it.until(lambda: "no answer from the Hub in 15 s" in it.screen_text, "it ends by itself")
            gate.set()  # what comes now is not wanted any more
            await it.pilot.pause()
            assert "no answer from the Hub" in it.screen_text
            await it.press("escape")
            assert isinstance(it.app.screen, LibraryScreen)
        finally:
            gate.set()


async def convert(it: Driver, source: str) -> None:
    await it.press("c")
    it.app.screen.query_one(Input).value = source
    await it.press("enter")


async def test_a_job_is_shown_paused_resumed_and_cancelled(home: Path) -> None:
    async with running(size=(110, 30)) as it:
        await it.press("f3")
        await convert(it, "slow")
        job = it.app.services.jobs.jobs[0]
        await it.until(lambda: job.done > 0 and "Downloading" in it.status, "running")
        await convert(it, "quick")
        assert "(+1)" in it.app.services.jobs.status()
        it.app.screen.query_one(JobList).focus()
        await it.press("down", "p")
        assert job.state == "paused"
        before = job.done
        await it.pilot.pause(0.4)
        assert job.done <= before + 2  # what was on its way
        assert "(paused)" in it.screen_text
        await it.press("p")
        await it.until(lambda: job.done > before + 2, "goes on")
        await it.press("x")
        await it.until(lambda: job.state == "cancelled", "cancelled")
        await it.until(lambda: it.app.services.jobs.jobs[1].state == "done", "the next one ran")


@pytest.mark.parametrize(
    ("script", "said"), [("once", "no such model (look again)"), ("crash", "out of memory")]
)
async def test_a_job_that_fails_leaves_the_app_working(script: str, said: str, home: Path) -> None:
    async with running(size=(110, 30)) as it:
        await it.press("f3")
        await convert(it, script)
        job = it.app.services.jobs.jobs[0]
        await it.until(lambda: job.state == "failed", "failed")
        assert said in job.message
        await it.until(lambda: said in it.toasts, "said")
        it.app.screen.query_one(JobList).focus()
        await it.press("r")
        await it.until(
            lambda: job.state == ("done" if script == "once" else "failed") and job.child is not None, "again"
        )
        await it.press("f2")
        await it.ask("hello")


async def test_a_model_that_was_made_appears(home: Path) -> None:
    async with running(size=(110, 30)) as it:
        await it.press("f3")
        install(home, "made")
        await convert(it, "quick")
        screen = it.app.screen
        assert isinstance(screen, LibraryScreen)
        await it.until(lambda: [entry.name for entry in screen._shown] == ["made"], "listed")


def entry(name: str, **fields: object) -> Entry:
    return Entry(name=name, kind="model", directory=Path("/m") / name, size_bytes=1, **fields)  # type: ignore[arg-type]


def test_lineage() -> None:
    base, tuned = entry("base", source="org/x"), entry("tuned", source="base")
    assert lineage(base, [base, tuned]) == ["org/x", "└ base  ◂", "  └ tuned (model)"]


def test_arrangement_and_ages() -> None:
    entries = [entry("b", used=1.0), entry("a"), entry("c", used=9.0)]
    assert [e.name for e in arranged(entries, "", "used")] == ["c", "b", "a"]
    assert [e.name for e in arranged(entries, "B", "name")] == ["b"]
    assert [ago(None), ago(0, 30), ago(0, 7200), ago(0, 200_000)] == [
        "never",
        "just now",
        "2 h ago",
        "2 d ago",
    ]


async def test_the_mouse_does_it_too(home: Path) -> None:
    install(home)
    async with running(["tiny", "two"]) as it:
        await it.press("escape")
        await shelf(it, 1)
        await it.pilot.click(DataTable, offset=(3, 1))
        await it.until(lambda: it.app.current_mode == "chat", "chatting")
        assert not isinstance(it.app.screen, OptionList)


async def test_exports_are_jobs_with_their_progress(home: Path) -> None:
    install(home)
    install_adapter(home, "poet", "tiny")
    async with running(size=(120, 40)) as it:
        await shelf(it, 2)
        await it.press("e")
        assert isinstance(it.app.screen, Choose)
        assert "an adapter for PEFT" in it.screen_text
        await it.press("enter")
        assert isinstance(it.app.screen, AskLine)
        await it.press("enter")
        await it.press("down", "e", "down", "enter")
        line = it.app.screen.query_one(Input)
        assert line.value == "tiny-8bit"
        line.value = "smaller"
        await it.press("enter")
        assert [(job.kind, job.title) for job in it.app.services.jobs.jobs] == [
            ("peft", "Exporting poet to poet-peft"),
            ("convert", "Exporting tiny to smaller"),
        ]
        settings = it.app.services.jobs.jobs[0].settings
        assert settings == {
            "adapter": str(home / "adapters" / "poet"),
            "model": "tiny",
            "output": str(Path.cwd() / "poet-peft"),
        }
        assert it.app.services.jobs.jobs[1].settings == {
            "source": str(home / "models" / "tiny"),
            "bits": 8,
            "output": str(home / "models" / "smaller"),
        }
        await it.until(lambda: all(job.state == "done" for job in it.app.services.jobs.jobs), "both are done")
        await it.press("e", "enter")
        it.app.screen.query_one(Input).value = str(home / "models" / "tiny")
        await it.press("enter")
        await it.until(lambda: "exists already" in it.toasts, "nothing is overwritten")
        assert len(it.app.services.jobs.jobs) == 2


def test_what_an_adapter_can_become(home: Path) -> None:
    entry = Entry("poet", "adapter", home / "adapters" / "poet", 1, base="tiny")
    assert [(export.kind, export.target.name) for export in exports_of(entry)] == [
        ("peft", "poet-peft"),
        ("fuse", "tiny-poet"),
        ("fuse", "tiny-poet-dense"),
    ]
    assert to_directory("a/b", home / "x") == Path("a/b")
    assert to_directory("b", home / "x") == home / "b"


async def test_what_came_from_elsewhere_is_found_again(home: Path) -> None:
    install(home)
    async with running() as it:
        screen = await shelf(it, 1)
        install(home, "another")
        await it.press("f9")
        await it.until(lambda: len(screen._shown) == 2, "found")
