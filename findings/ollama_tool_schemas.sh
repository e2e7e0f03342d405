#!/usr/bin/env bash
# One would guess: a tool that is given to Ollama's Python client as a dictionary is sent as it is: `Client.chat` takes, in its own words,
# "a JSON schema as a dict".
# What happens: the client reads it into classes of its own, which know `type`, `items`, `description` and `enum` of a parameter, and
# sends these alone: the properties of an object, `anyOf`, `$ref`, bounds, `default`, `additionalProperties` are left out, without a
# word. `$defs` is sent, and what pointed to it is not. A schema given as `format` is sent whole.
# Whom it hurts: everyone whose functions take nested arguments: the model is told of an object, and not of what is in it.
# Source: ollama/_types.py, Tool.Function.Parameters.Property.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ollama==0.6.3

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata as metadata
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import ollama

print("ollama", metadata.version("ollama"))
sent = []


class Server(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        sent.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        text = b'{"model": "m", "message": {"role": "assistant", "content": "x"}, "done": true}'
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
schema = {
    "type": "object",
    "properties": {
        "address": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        "when": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "days": {"$ref": "#/$defs/days"},
        "places": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["address"],
    "additionalProperties": False,
    "$defs": {"days": {"type": "integer"}},
}
tool = {"type": "function", "function": {"name": "book", "description": "Book a room.", "parameters": schema}}
ollama.Client(f"http://127.0.0.1:{server.server_port}").chat("m", [{"role": "user", "content": "x"}], tools=[tool], format=schema)
parameters = sent[0]["tools"][0]["function"]["parameters"]
print("given:", json.dumps(schema["properties"]))
print("sent: ", json.dumps(parameters["properties"]))
print("sent of the rest:", sorted(parameters))
print("a format is sent whole:", sent[0]["format"] == schema)
as_found = (
    parameters["properties"] == {"address": {"type": "object"}, "when": {}, "days": {}, "places": {"type": "integer"}}
    and "$defs" in parameters
    and "additionalProperties" not in parameters
    and sent[0]["format"] == schema
)
sys.exit(0 if as_found else 1)
PYTHON
