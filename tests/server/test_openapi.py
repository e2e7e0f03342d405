"""The server's OpenAPI document: every route is in it, and what it points to is there."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from edgelm.server.app import APIS, OWN
from edgelm.server.http.endpoints import api_of, template_of
from edgelm.server.openapi import openapi


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi([*APIS, OWN])


def test_every_endpoint_is_described(document: dict[str, Any]) -> None:
    described = {(path, method) for path, item in document["paths"].items() for method in item}
    endpoints = [each for api in (*APIS, OWN) for each in api.endpoints]
    assert described == {(template_of(each.path), each.method.lower()) for each in endpoints}
    assert len(described) == len(endpoints)


def test_every_reference_is_defined(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    text = json.dumps(document)
    for reference in {part.partition('"')[0] for part in text.split('"$ref": "')[1:]}:
        assert reference.removeprefix("#/components/schemas/") in schemas
    assert schemas["ChatRequest"]["required"] == ["messages"]


def test_a_path_belongs_to_the_api_with_the_longest_prefix() -> None:
    assert api_of("/v1/chat/completions", APIS).name == "OpenAI"
    assert api_of("/elsewhere", APIS) is APIS[0]


@pytest.mark.slow
def test_the_document_is_served(address: str, document: dict[str, Any]) -> None:
    assert httpx2.get(f"{address}/openapi.json").json() == document


def test_health_is_described_as_it_answers(document: dict[str, Any]) -> None:
    answers = document["paths"]["/health"]["get"]["responses"]
    assert set(answers) == {"200", "503"}
    for answer in answers.values():
        schema = answer["content"]["application/json"]["schema"]
        assert schema["properties"]["status"]["enum"] == ["ok", "stopping", "stalled"]
