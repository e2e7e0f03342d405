"""Completions: texts and token ids go on as the model goes on by itself."""

from __future__ import annotations

from typing import Any

import openai
import pytest

import edgelm

pytestmark = pytest.mark.slow


def complete(client: openai.OpenAI, prompt: Any, **fields: Any) -> Any:
    return client.completions.create(model="tiny", prompt=prompt, **fields)


def test_a_text_goes_on(client: openai.OpenAI, model: edgelm.Model) -> None:
    answer = complete(client, "The sky is", max_tokens=9, temperature=0.7, seed=5)
    assert answer.choices[0].text == model.generate("The sky is", max_tokens=9, temperature=0.7, seed=5).text
    assert answer.object == "text_completion"
    pieces = [
        choice.text
        for chunk in complete(client, "The sky is", max_tokens=9, temperature=0.7, seed=5, stream=True)
        for choice in chunk.choices
    ]
    assert "".join(pieces) == answer.choices[0].text
    assert complete(client, "The sky is").usage.completion_tokens <= 16


def test_several_prompts_have_as_many_choices_each(client: openai.OpenAI) -> None:
    alone = [complete(client, prompt, max_tokens=6).choices[0].text for prompt in ("one", [72, 105])]
    many = complete(client, [[111, 110, 101], [72, 105]], n=2, max_tokens=6)
    assert [choice.index for choice in many.choices] == [0, 1, 2, 3]
    assert [many.choices[2].text, many.choices[3].text] == [alone[1]] * 2
    assert many.usage.prompt_tokens == 5


def test_log_probabilities_stand_where_their_tokens_do(client: openai.OpenAI) -> None:
    choice = complete(client, "The", max_tokens=4, logprobs=2).choices[0]
    assert len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs) == 4
    assert choice.logprobs.text_offset[0] == 0


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"prompt": []}, "prompt"), ({"prompt": ""}, "prompt"), ({"prompt": [99_999]}, "99999"),
        ({"prompt": [-1]}, "-1"), ({"prompt": [2**70]}, str(2**70)), ({"echo": True}, "echo"),
        ({"suffix": "x"}, "suffix"), ({"best_of": 3}, "best_of"), ({"logprobs": 9}, "logprobs"),
    ],
)  # fmt: skip
def test_what_cannot_be_met_is_refused_by_name(
    client: openai.OpenAI, fields: dict[str, Any], name: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=name):
        complete(client, **{"prompt": "x", **fields})
