"""A server in this process: models found by name, an address, and the loop that runs until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.api import Model, load
from edgelm.errors import OptionError
from edgelm.launch.records import recorded
from edgelm.library import models as library
from edgelm.server.extra import require_extra
from edgelm.server.settings import ServerSettings

if TYPE_CHECKING:  # what the extra `serve` brings, which is asked for in functions
    from starlette.types import ASGIApp

    from edgelm.server.http.listener import DrainingServer
    from edgelm.server.residents import Residents

KEY_VARIABLE = "EDGELM_API_KEY"


def serve(
    *models: str | Path,
    pinned: Sequence[str] = (),
    on_ready: Callable[[str], object] = lambda _: None,
    model_settings: Mapping[str, Any] | None = None,
    **settings: Any,
) -> None:
    """Serve models until Ctrl-C or SIGTERM: replies under way may end, for up to 30 seconds; a second Ctrl-C does not wait.

    Args:
        models: names of the library, paths or Hub ids; none is all of the library, each loaded when it is asked for. The first
            is loaded before the server listens.
        pinned: names of models that stay loaded.
        on_ready: called with the address once the server listens.
        model_settings: keywords of `edgelm.load` for every model (kv_bits, max_context, dtype, …).
        settings: fields of `ServerSettings` (host, port, api_key, …).

    Raises:
        UnsupportedError: the extra `serve` is not installed.
        OptionError: a setting outside what it may be, or an address that cannot be listened on.
        NotFoundError, FitError: a model that is not there, or does not fit.
        KeyboardInterrupt: Ctrl-C came twice, or while the first model was being loaded.
    """
    require_extra()
    from edgelm.runtime.worker import abandon_all
    from edgelm.server.app import make_app
    from edgelm.server.http.listener import DrainingServer

    wanted = server_settings(**settings)
    listener = _listen(wanted)
    try:
        residents = residents_of(models, pinned, model_settings or {})
        residents.preload()
        app = make_app(residents, wanted)
        admission = app.state.serving.admission
        server = DrainingServer(app, admission.close, lambda: not admission.count)
        host = f"[{wanted.host}]" if ":" in wanted.host else wanted.host
        port = listener.getsockname()[1]
        record = recorded(wanted.host, port, wanted.api_key, residents.names)
        asyncio.run(_run(server, listener, record, lambda: on_ready(f"http://{host}:{port}")))
    finally:
        listener.close()
    if server.was_forced:
        abandon_all()
        raise KeyboardInterrupt


def asgi_app(
    *models: str | Path, model_settings: Mapping[str, Any] | None = None, **settings: Any
) -> ASGIApp:
    """Make the ASGI application of a server, to be run by another one, or mounted in another application.

    For arguments and errors see `serve`.
    """
    require_extra()
    from edgelm.server.app import make_app

    return make_app(residents_of(models, (), model_settings or {}), server_settings(**settings))


def server_settings(**settings: Any) -> ServerSettings:
    """Return checked settings; the key is read from the environment where it is not given."""
    if settings.get("api_key") is None:
        settings["api_key"] = os.environ.get(KEY_VARIABLE) or None
    return ServerSettings(**settings)


def residents_of(
    models: Sequence[str | Path], pinned: Sequence[str], model_settings: Mapping[str, Any]
) -> Residents:
    """Return what is served: `models`, or the whole library.

    Raises:
        NotFoundError: a model that is not there.
        OptionError: two of one name, or a pinned one that is not served.
    """
    from edgelm.server.residents import Residents

    named: dict[str, Path] | None = None
    if models:
        named = {}
        for model in models:
            directory = library.obtain(str(model))
            if directory.name in named and named[directory.name] != directory:
                raise OptionError(f"two models are called {directory.name!r}, expected different names")
            named[directory.name] = directory
    given = {"disk_cache": True, "compile_steps": True, **model_settings}

    def loaded(directory: Path) -> Model:
        return load(directory, **given)

    residents = Residents(loaded, named, frozenset(pinned))
    unknown = sorted(set(pinned) - set(residents.directories()))
    if unknown:
        raise OptionError(f"pinned is {unknown[0]!r}, which is no model that is served", settings=("pinned",))
    return residents


def _listen(settings: ServerSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host.strip("[]"), settings.port), family=family, backlog=256)
    except OSError as error:
        raise OptionError(
            f"{settings.host}:{settings.port} cannot be listened on: {error.strerror or error}",
            hint="another server may hold it: choose another --port, or 0 for any",
            settings=("host", "port"),
        ) from error


async def _run(
    server: DrainingServer,
    listener: socket.socket,
    record: AbstractContextManager[None],
    on_ready: Callable[[], object],
) -> None:
    running = asyncio.ensure_future(server.serve(sockets=[listener]))
    while not server.started and not running.done():
        await asyncio.sleep(0.01)
    if not server.started:
        await running
        return
    with record:
        on_ready()
        await running
