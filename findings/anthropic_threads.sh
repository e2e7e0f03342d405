#!/usr/bin/env bash
# One would guess: the tool runner of Anthropic's Python client works with every server that speaks the Messages API, and a server may
# pass over fields that it does not know, as those that are compatible do, since the API gets new ones every month.
# What happens: the runner sends `thread: {"type": "create"}` with its first request. A server that passes it over and answers 200 has
# promised to hold the conversation: the second request has the result of the tool alone, without the question, the call and the tools.
# No error is raised; the model answers a tool_result that nobody asked for. With a 400 whose `error.details.error_code` is
# `thread_unsupported_request` the client sends the whole conversation instead.
# Whom it hurts: who points the client at a local server or a proxy by `base_url`, and who writes one.
# Source: anthropic/lib/threads/_beta_threads.py (`_for_tool_runner`: threading is on where the client's class supports it, whatever
# its base_url) and _thread_state.py (`recovers_from`).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet anthropic==2.14.0

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata as metadata
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import anthropic

print("anthropic", metadata.version("anthropic"))
REFUSAL = {"type": "error", "error": {"type": "invalid_request_error", "message": "no threads",
           "details": {"error_code": "thread_unsupported_request"}}}


def now() -> str:
    """Tell the time."""
    return "12:00"


def sent(*, refuses: bool) -> list[dict]:
    """The requests of a loop of tools to a server that passes `thread` over, or refuses it."""
    bodies, answers = [], []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if refuses and "thread" in body:
                self.give(400, REFUSAL)
                return
            bodies.append(body)
            call = {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}}
            content = call if len(bodies) == 1 else {"type": "text", "text": "noon"}
            self.give(200, {"id": f"msg_{len(bodies)}", "type": "message", "role": "assistant", "model": "m", "content": [content],
                            "stop_reason": "tool_use" if len(bodies) == 1 else "end_turn", "stop_sequence": None,
                            "usage": {"input_tokens": 1, "output_tokens": 1}})

        def give(self, status: int, body: dict) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = anthropic.Anthropic(base_url=f"http://127.0.0.1:{server.server_port}", api_key="none", max_retries=0)
    question = [{"role": "user", "content": "What time is it?"}]
    answers += client.beta.messages.tool_runner(
        model="m", max_tokens=9, messages=question, tools=[anthropic.beta_tool(now)]
    )
    server.shutdown()
    print("answers:", [answer.stop_reason for answer in answers])
    for body in bodies:
        print("  ", body.get("thread"), [message["role"] for message in body["messages"]], "tools" if "tools" in body else "no tools")
    return bodies


print("a server that passes `thread` over:")
_, lost = sent(refuses=False)
print("a server that refuses it by its code:")
_, whole = sent(refuses=True)
is_lost = len(lost["messages"]) == 1 and "tools" not in lost
is_whole = [message["role"] for message in whole["messages"]] == ["user", "assistant", "user"] and "tools" in whole
sys.exit(0 if is_lost and is_whole else 1)
PYTHON
