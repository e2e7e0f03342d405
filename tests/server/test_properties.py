"""Whatever the server's own OpenAPI document allows, and what it does not, is answered as the document says: nothing breaks it.

`EDGELM_EXAMPLES=200` tries so many requests of each endpoint, and the limits of every field beside.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from edgelm.server.app import APIS, OWN
from edgelm.server.openapi import openapi

pytestmark = pytest.mark.slow

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
]  # fmt: skip
TOKENS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
FEW = 3
"""The most tokens of an answer here, and the most answers."""


EXAMPLES = os.environ.get("EDGELM_EXAMPLES")
DESCRIBED = schemathesis.openapi.from_dict(openapi([*APIS, OWN]))
# The limits of every field one by one: minutes.
DESCRIBED.config.phases.coverage.enabled = EXAMPLES is not None


def shorten(body: Any) -> None:
    """Ask for the model that there is, and for a short answer; a count that is no count stays."""
    if not isinstance(body, dict):
        return
    if isinstance(body.get("model"), str):
        body["model"] = "tiny"  # else nearly all ask for a model that there is not
    body.pop("adapter", None)
    for name in (*TOKENS, "n"):
        if type(body.get(name)) is int:
            body[name] = min(body[name], FEW)
        elif name not in body and name != "n":
            body[name] = FEW
    if isinstance(body.get("options"), dict):
        body["options"]["num_predict"] = FEW
    elif "options" not in body:
        body["options"] = {"num_predict": FEW}


@DESCRIBED.parametrize()
@settings(
    max_examples=int(EXAMPLES or 3),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_every_request_is_answered_as_the_document_says(case: Any, address: str) -> None:
    shorten(case.body)
    response = case.call(base_url=address, timeout=60)
    case.validate_response(response, checks=CHECKS)
