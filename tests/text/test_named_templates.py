"""Of several named templates the one for tools is used where there are tools, as transformers does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgelm.model.load import load_tokenizer
from edgelm.text.families.family import family_of
from edgelm.text.prompt import encode_chat, render_chat, require_tool_support
from edgelm.tune.data.encoding.masks import ChatEncoder
from edgelm.tune.data.rows import RowOrigin
from tests.support.chat_templates import make_fast

DEFAULT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" \
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"  # fmt: skip
TOOL_USE = "{{ tools | tojson }}\n<tool_call>" + DEFAULT
RAG = "documents" + DEFAULT
TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
]
HI = [{"role": "user", "content": "Hi"}]


def as_list(directory: Path) -> None:
    path = directory / "tokenizer_config.json"
    said = json.loads(path.read_text())
    named = {"default": DEFAULT, "tool_use": TOOL_USE, "rag": RAG}
    said["chat_template"] = [{"name": name, "template": text} for name, text in named.items()]
    path.write_text(json.dumps(said))


def as_folder(directory: Path) -> None:
    (directory / "chat_template.jinja").write_text(DEFAULT)
    more = directory / "additional_chat_templates"
    more.mkdir()
    (more / "tool_use.jinja").write_text(TOOL_USE)
    (more / "rag.jinja").write_text(RAG)


@pytest.fixture(params=[as_list, as_folder])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    fast = make_fast("chatml")
    fast.chat_template = None
    fast.save_pretrained(str(tmp_path))
    request.param(tmp_path)
    return load_tokenizer(tmp_path, {})


def test_tools_are_rendered_by_the_template_for_tools(tokenizer: Any) -> None:
    for tools in (None, TOOLS):
        theirs = tokenizer.apply_chat_template(HI, tools=tools, tokenize=False, add_generation_prompt=True)
        assert render_chat(tokenizer, HI, is_open=True, tools=tools) == theirs
        ids = tokenizer.apply_chat_template(HI, tools=tools, add_generation_prompt=True)
        assert encode_chat(tokenizer, HI, tools=tools) == ids
    assert "weather" in theirs


def test_calls_can_be_read_and_rows_with_tools_are_trained_so(tokenizer: Any) -> None:
    require_tool_support(tokenizer)
    assert "<tool_call>" in [form.start for form in family_of(tokenizer).calls]
    messages = [*HI, {"role": "assistant", "content": "x"}]
    row = ChatEncoder(tokenizer).encode(messages, [1], RowOrigin("a", 1), TOOLS)
    assert "weather" in tokenizer.decode(row.tokens)
