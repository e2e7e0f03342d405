"""`edgelm launch AGENT [MODEL] [-- ARGS]`: a coding agent on a model of this machine, and the server that it needs."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from edgelm.cli.parsing.default_model import choose_model, named_model
from edgelm.cli.parsing.loading_flags import add_loading_flags, loading_arguments
from edgelm.cli.parsing.parser import Parser
from edgelm.cli.show.output import dim, say, warn
from edgelm.errors import NotFoundError
from edgelm.launch import agents, background, users
from edgelm.launch.asking import state_of
from edgelm.launch.records import RunningServer, running_servers
from edgelm.launch.running import require_installed, run_agent
from edgelm.server.extra import require_extra

EXAMPLES = (
    "edgelm launch claude",
    "edgelm launch codex qwen3-coder-30b-4bit -- exec 'fix the failing test'",
    "edgelm launch aider --print",
)

_PATIENCE_S = 10.0
"""A server that computes a long prompt may take a moment to answer."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    add = parser.add_argument
    names = [agent.program for agent in agents.AGENTS]
    add("agent", metavar="AGENT", choices=names, help=f"one of {', '.join(names)}")
    add(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a name, path or Hub id; without one, what a running server has, else the model used last",
    )
    add("--print", action="store_true", help="only show what would be set and run")
    add("--keep", action="store_true", help="let the server go on when the agent ends")
    add(
        "--port",
        type=int,
        metavar="INT",
        help="port of a server that has to be started (default: 8080 or any)",
    )
    add_loading_flags(parser)
    parser.usage = "edgelm launch [-h] [FLAGS ...] AGENT [MODEL] [-- ARGS OF THE AGENT ...]"
    if isinstance(parser, Parser):
        parser.passes_on = True


def run(arguments: argparse.Namespace) -> None:
    """Run the command, and leave with the agent's exit status.

    Raises:
        NotFoundError: the agent is not installed, or there is no such model.
        EngineError: the server does not begin to serve.
    """
    agent = next(agent for agent in agents.AGENTS if agent.program == arguments.agent)
    if arguments.print:
        _print_call(agent, arguments)
        return
    program = require_installed(agent)
    server, model = _server_for(arguments)
    try:
        call = agent.call(_endpoint(server, model))
        _say_call(agent, server, call)
        code = run_agent(program, [*call.arguments, *arguments.passed_on], call.environment)
    finally:
        _leave(server)
    sys.exit(code)


def _server_for(arguments: argparse.Namespace) -> tuple[RunningServer, str]:
    """A server that serves the model, and the model's name there; started if there is none, once for all who ask."""
    lock = background.start_lock()
    background.take_turn(lock, lambda pid: say(f"process {pid} is starting a server"))
    try:
        server, model, source = _found(arguments.model)
        if server is None:
            server = _started(source, arguments)
            if not arguments.keep:
                users.found_users(server)
        elif loading_arguments(arguments) or arguments.port is not None:
            warn(
                f"{server.address} runs already: --port and flags of loading are for a server that is started"
            )
        users.join(server)
    finally:
        lock.release()
    return server, model


def _found(wanted: str | None) -> tuple[RunningServer | None, str, str]:
    """A running server that has the model, the model's name, and what to call it where a server must be started."""
    from edgelm.library import models as library

    living = [each for each in running_servers() if _answers(each)]
    if named_model(wanted) is None:
        if living and living[0].models:
            return living[0], living[0].models[0], living[0].models[0]
        wanted = choose_model()
    for server in living:
        if wanted in server.models:  # it may be of no library
            return server, str(wanted), str(wanted)
    directory, adapters = _with_adapters(wanted or "")
    name = "+".join([directory.name, *adapters])
    is_listed = any(model.directory == directory for model in library.installed())
    for server in living:
        if directory.name in server.models or (not server.models and is_listed):
            return server, name, str(directory)
    return None, name, str(directory)


def _with_adapters(wanted: str) -> tuple[Path, list[str]]:
    """The directory of "model+adapter", as servers name it, and the adapters; a name of a model may have a + as well."""
    from edgelm.adapters.find import find_adapter
    from edgelm.library import models as library

    try:
        return library.obtain(wanted), []
    except NotFoundError:
        base, _, adapter = wanted.rpartition("+")
        if not base:
            raise
    directory, adapters = _with_adapters(base)
    return directory, [*adapters, find_adapter(adapter).name]


def _answers(server: RunningServer) -> bool:
    state = state_of(server, _PATIENCE_S)
    return state is not None and state.status == "ok"


def _started(source: str, arguments: argparse.Namespace) -> RunningServer:
    require_extra()
    say(f"starting a server with {source}; its log is {background.log_file()}")
    return background.start(_serve_arguments(source, arguments))


def _serve_arguments(source: str, arguments: argparse.Namespace) -> list[str]:
    from edgelm.server.settings import ServerSettings

    port = arguments.port if arguments.port is not None else background.free_port(ServerSettings.port)
    return [source, "--port", str(port), *loading_arguments(arguments)]


def _endpoint(server: RunningServer, model: str) -> agents.ModelAddress:
    return agents.ModelAddress(server.address, server.key or agents.NO_KEY, model)


def _leave(server: RunningServer) -> None:
    """End a server that was started for agents, when the last of them has ended."""
    lock = background.start_lock()
    background.take_turn(lock, lambda _: None)
    try:
        if users.is_last_to_leave(server):
            background.stop(server)
            say(f"the server at {server.address} has ended; --keep lets it go on")
    finally:
        lock.release()


def _say_call(agent: agents.Agent, server: RunningServer, call: agents.AgentCall) -> None:
    """Say on stderr what is set; a key stays unseen."""
    say(f"{agent.title} at {server.address}")
    hidden = {
        name: "***" if server.key and value == server.key else value
        for name, value in call.environment.items()
    }
    for line in _lines(hidden):
        say(dim(f"  {line.replace(server.key, '***') if server.key else line}", sys.stderr))
    if call.arguments:
        say(dim(f"  {shlex.join([agent.program, *call.arguments])}", sys.stderr))


def _print_call(agent: agents.Agent, arguments: argparse.Namespace) -> None:
    """Print on stdout, for a shell, what a launch would set and run."""
    server, model, source = _found(arguments.model)
    if server is None:
        command = _serve_arguments(source, arguments)
        port = int(command[command.index("--port") + 1])
        say(f"no server has {model}: a launch would run " + shlex.join(["edgelm", "serve", *command]))
        server = RunningServer("0", f"http://127.0.0.1:{port}", "", (model,), 0.0)
    call = agent.call(_endpoint(server, model))
    for line in _lines(call.environment):
        print(f"export {line}")
    print(shlex.join([agent.program, *call.arguments, *arguments.passed_on]))


def _lines(environment: Mapping[str, str]) -> list[str]:
    return [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
