"""`edgelm launch`: each agent is told by its own documented means, is run in this terminal, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from adapter_files import write_adapter_named
from fake_agents import saying, write_agent
from serving import write_chat_model
from waiting import PATIENCE_S, wait_for

from edgelm import paths
from edgelm.cli.main import main
from edgelm.launch.records import recorded, running_servers

MODEL = "qwen3-coder"


@pytest.fixture
def programs(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs, first on PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return folder


@pytest.fixture
def address(home: Path) -> Iterator[str]:
    """A server that runs, as its record tells."""
    with saying() as port, recorded("127.0.0.1", port, None, (MODEL,)):
        yield f"http://127.0.0.1:{port}"


def test_claude(programs: Path, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    agent = write_agent(programs, "claude")
    assert main(["launch", "claude", "--", "-p", "say hi"]) == 7
    given = agent.environment()
    assert given["ANTHROPIC_BASE_URL"] == address
    assert given["ANTHROPIC_AUTH_TOKEN"] == "edgelm"
    assert given["ANTHROPIC_API_KEY"] == ""
    for name in ("", "DEFAULT_OPUS_", "DEFAULT_SONNET_", "DEFAULT_HAIKU_", "SMALL_FAST_"):
        assert given[f"ANTHROPIC_{name}MODEL"] == MODEL
    assert agent.arguments() == ["-p", "say hi"]
    said = capsys.readouterr()
    assert not said.out
    assert f"ANTHROPIC_BASE_URL={address}" in said.err


def test_codex(programs: Path, address: str) -> None:
    agent = write_agent(programs, "codex", "exit 0")
    assert main(["launch", "codex", "--", "exec"]) == 0
    words = agent.arguments()
    settings = [value for flag, value in pairwise(words) if flag == "-c"]
    told = tomllib.loads("\n".join(settings))
    assert told["model_provider"] == "edgelm"
    assert told["web_search"] == "disabled"
    provider = told["model_providers"]["edgelm"]
    assert provider["base_url"] == f"{address}/v1"
    assert provider["wire_api"] == "responses"
    assert agent.environment()[provider["env_key"]] == "edgelm"
    assert words[-3:] == ["-m", MODEL, "exec"]


def test_opencode(programs: Path, address: str) -> None:
    agent = write_agent(programs, "opencode")
    main(["launch", "opencode"])
    told = json.loads(agent.environment()["OPENCODE_CONFIG_CONTENT"])
    assert told["model"] == f"edgelm/{MODEL}"
    provider = told["provider"]["edgelm"]
    assert provider["npm"] == "@ai-sdk/openai-compatible"
    assert provider["options"] == {"baseURL": f"{address}/v1", "apiKey": "edgelm"}
    assert list(provider["models"]) == [MODEL]


def test_aider(programs: Path, address: str) -> None:
    agent = write_agent(programs, "aider")
    main(["launch", "aider"])
    assert agent.environment()["OPENAI_API_BASE"] == f"{address}/v1"
    assert agent.environment()["OPENAI_API_KEY"] == "edgelm"
    assert agent.arguments()[:2] == ["--model", f"openai/{MODEL}"]


def test_goose(programs: Path, address: str) -> None:
    agent = write_agent(programs, "goose")
    main(["launch", "goose"])
    given = agent.environment()
    assert (given["GOOSE_PROVIDER"], given["GOOSE_MODEL"]) == ("openai", MODEL)
    assert f"{given['OPENAI_HOST']}/{given['OPENAI_BASE_PATH']}" == f"{address}/v1/chat/completions"


def test_the_key_of_a_server_reaches_the_agent_and_no_screen(
    programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("claude", "opencode"):
        agent = write_agent(programs, name)
        with saying(key="top-secret") as port, recorded("0.0.0.0", port, "top-secret", (MODEL,)):
            main(["launch", name])
        assert any("top-secret" in value for value in agent.environment().values())
        assert any(f"http://127.0.0.1:{port}" in value for value in agent.environment().values())
    said = capsys.readouterr()
    assert "top-secret" not in said.err + said.out


def test_print_shows_and_does_nothing(
    programs: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["launch", "aider", "--print", "--", "--yes", "a b"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"export OPENAI_API_BASE={address}/v1" in lines
    assert lines[-1].startswith("aider --model openai/qwen3-coder")
    assert lines[-1].endswith("--yes 'a b'")
    assert not list(programs.iterdir())


def test_an_agent_that_is_not_installed(
    programs: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["launch", "goose"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "error: goose is not installed: there is no goose on PATH"
    assert said[-1] == "hint: brew install block-goose-cli"
    assert main(["launch", "cursor"]) == 2
    assert "claude, codex, opencode, aider, goose" in capsys.readouterr().err


def test_an_agent_that_a_signal_ends(programs: Path, address: str) -> None:
    write_agent(programs, "claude", "kill -TERM $$")
    assert main(["launch", "claude"]) == 128 + signal.SIGTERM


def test_a_server_of_another_model_is_not_taken(
    programs: Path, address: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_agent(programs, "claude")
    assert main(["launch", "claude", "nowhere-to-be-found"]) == 1
    assert "nowhere-to-be-found" in capsys.readouterr().err
    library = home / "models" / "other"
    write_chat_model(library)
    assert main(["launch", "claude", "other", "--print"]) == 0
    said = capsys.readouterr()
    assert "a launch would run edgelm serve" in said.err
    assert "export ANTHROPIC_MODEL=other" in said.out


def test_a_model_with_an_adapter(programs: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent = write_agent(programs, "claude")
    write_adapter_named("poet")
    write_chat_model(home / "models" / "tiny+1")
    with saying() as port, recorded("127.0.0.1", port, None, ()):
        main(["launch", "claude", "tiny+1+poet"])
        assert agent.environment()["ANTHROPIC_MODEL"] == "tiny+1+poet"
        assert main(["launch", "claude", "tiny+1+pot"]) == 1
    assert "pot" in capsys.readouterr().err


def test_a_server_has_it_by_its_name(programs: Path, address: str) -> None:
    agent = write_agent(programs, "claude")
    assert main(["launch", "claude", MODEL]) == 7
    assert agent.environment()["ANTHROPIC_MODEL"] == MODEL


@pytest.mark.slow
def test_a_server_is_started_for_it_and_ends_with_it(programs: Path, home: Path) -> None:
    """A process of its own, which Ctrl-C in the terminal does not reach; the agent hears it and says how it ends."""
    write_chat_model(home / "models" / "tiny")
    agent = write_agent(
        programs, "claude", f"trap 'exit 9' INT; touch {programs}/up; while :; do sleep 0.05; done"
    )
    command = [sys.executable, "-m", "edgelm", "launch", "claude", "tiny", "--port", "0", "--no-disk-cache"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ}
    ) as process:
        try:
            wait_for(lambda: (programs / "up").exists() or process.poll() is not None)
            (server,) = running_servers()
            assert server.models == ("tiny",)
            assert agent.environment()["ANTHROPIC_BASE_URL"] == server.address
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(timeout=PATIENCE_S) == 9
            assert process.stderr is not None
            said = process.stderr.read()
        finally:
            process.kill()
    assert "Traceback" not in said
    assert "has ended" in said
    assert running_servers() == []
    assert {path.name for path in paths.servers().iterdir()} == {"servers.log", "start.lock"}


@pytest.mark.slow
def test_a_server_that_does_not_begin_says_why(
    programs: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_agent(programs, "claude")
    broken = home / "models" / "broken"
    write_chat_model(broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    assert main(["launch", "claude", "broken", "--port", "0"]) == 1
    said = capsys.readouterr().err
    assert "the server ended before it served" in said
    assert "safetensors" in said
