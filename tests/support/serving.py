"""A server over a tiny model on loopback, in a thread, for real clients."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from chat_templates import make_fast
from checkpoints import write_checkpoint

from edgelm.server.http.listener import PatientProtocol
from edgelm.server.run import asgi_app


def write_chat_model(directory: Path, family: str = "chatml", **config: Any) -> Path:
    """A tiny llama whose every byte is a token, with the template and the markers of a family."""
    tokenizer = make_fast(family)
    # Else the ids of the checkpoint's own special tokens, which are letters here, would end answers.
    ends = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.eos_token_id}
    write_checkpoint(directory, "llama", max_position_embeddings=100_000, **ends, **config)
    tokenizer.save_pretrained(directory)
    return directory


@contextmanager
def served(*models: Path, **settings: Any) -> Iterator[str]:
    """The address of a server of `models`."""
    # A compiled step gives the same tokens, and has kernels to compile first: test_compiled_step.py is where it is tested.
    model_settings = {"disk_cache": False, "compile_steps": False, **settings.pop("model_settings", {})}
    app = asgi_app(*models, model_settings=model_settings, **settings)
    config = uvicorn.Config(
        app,
        port=0,
        http=PatientProtocol,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        threading.Event().wait(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
