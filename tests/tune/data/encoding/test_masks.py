"""What is trained is what was labelled by hand, and a template that cannot be masked is refused with the reason."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest
from chat_templates import make_tokenizer

from edgelm.tune.data.encoding.encode import RowEncoder
from edgelm.tune.data.problems import Problem
from edgelm.tune.data.records import (
    ChatRecord,
    CompletionRecord,
    JudgementRecord,
    PreferenceRecord,
    TextRecord,
)
from edgelm.tune.data.rows import Example, Judged, Pair, Row, RowOrigin
from edgelm.tune.data.settings import DataSettings
from tests.tune.data.labelled import CHATS, LABELS, LEFT_OUT, TOOLS

ORIGIN = RowOrigin("made", 1)


def encode(family: str, record: Any, **settings: Any) -> tuple[list[Row], list[Problem]]:
    return RowEncoder(make_tokenizer(family), DataSettings(**settings)).encode(record)


def chat(name: str) -> ChatRecord:
    tools = TOOLS if name == "tool" else []
    return ChatRecord(tuple(CHATS[name]), tuple(tools), ORIGIN)


def trained_text(family: str, example: Example) -> list[str]:
    """The stretches of text that are trained."""
    tokenizer = make_tokenizer(family)
    pairs = zip(example.tokens, example.trained, strict=True)
    runs = groupby(pairs, key=lambda pair: pair[1])
    return [tokenizer.decode([token for token, _ in run]) for is_trained, run in runs if is_trained]


@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family, labels in LABELS.items() for name in labels]
)
def test_hand_labels(family: str, name: str) -> None:
    rows, problems = encode(family, chat(name))
    label = LABELS[family][name]
    if isinstance(label, str):
        assert rows == []
        assert [problem.sort for problem in problems] == ["template"]
        assert "refuses these messages" in problems[0].reason
        return
    (row,) = rows
    assert isinstance(row, Example)
    texts, count = label
    assert trained_text(family, row) == texts
    assert row.target_count == count
    says_left_out = any(problem.sort == "left out" for problem in problems)
    assert says_left_out == (name in LEFT_OUT.get(family, ()))


@pytest.mark.parametrize("family", LABELS)
def test_the_prompt_has_the_ids_that_it_has_in_a_chat(family: str) -> None:
    from edgelm.text.prompt import encode_chat

    (row,), _ = encode(family, chat("single-turn"))
    assert isinstance(row, Example)
    prompt = encode_chat(make_tokenizer(family), CHATS["single-turn"][:1])
    assert list(row.tokens[: row.prompt_size]) == prompt


@pytest.mark.parametrize("family", LABELS)
def test_last_turn_and_each_turn(family: str) -> None:
    (last,), _ = encode(family, chat("multi-turn"), turns="last")
    each, _ = encode(family, chat("multi-turn"), turns="each")
    texts = LABELS[family]["multi-turn"][0]
    assert isinstance(last, Example)
    assert trained_text(family, last) == [texts[1]]
    assert [trained_text(family, row) for row in each if isinstance(row, Example)] == [[t] for t in texts]
    assert {row.origin for row in each} == {ORIGIN}


def test_a_template_that_rewrites_earlier_turns_is_refused() -> None:
    rows, (problem,) = encode("qwen3", chat("multi-turn"))
    assert rows == []
    assert problem.sort == "template"
    assert problem.field == "messages[1]"
    assert "writes this turn differently once others follow" in problem.reason
    assert r"assistant\n<think>" in problem.reason
    assert "--turns each" in problem.reason


def test_its_last_turn_and_each_turn_can_be_trained() -> None:
    (last,), _ = encode("qwen3", chat("multi-turn"), turns="each")[0][-1:], None
    assert isinstance(last, Example)
    assert trained_text("qwen3", last) == ["<think>\n\n</think>\n\nIt is Oslo.<|im_end|>"]


def test_a_template_that_opens_what_it_does_not_write_is_refused() -> None:
    rows, (problem,) = encode("deepseek_r1", chat("single-turn"))
    assert rows == []
    assert "invites this reply differently than it writes it" in problem.reason
    assert "<think>" in problem.reason


def test_tools_that_move_with_the_last_question_are_refused() -> None:
    messages = (*CHATS["single-turn"], *CHATS["tool"])
    _, (problem,) = encode("mistral", ChatRecord(messages, tuple(TOOLS), ORIGIN))
    assert "writes this turn differently once others follow" in problem.reason
    assert "AVAILABLE" in problem.reason


def test_weights_of_zero_are_not_trained() -> None:
    messages = [dict(message) for message in CHATS["multi-turn"]]
    messages[1]["weight"] = 0
    (row,), _ = encode("chatml", ChatRecord(tuple(messages), (), ORIGIN))
    assert isinstance(row, Example)
    assert trained_text("chatml", row) == ["It is Oslo.<|im_end|>"]


def test_thinking_inside_the_content_that_the_template_drops_is_said() -> None:
    messages = ({"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "<think>Hm.</think>4"})
    _, problems = encode("deepseek", ChatRecord(messages, (), ORIGIN))
    assert [(problem.field, problem.sort) for problem in problems] == [("messages[1].content", "left out")]


def test_a_model_whose_turns_do_not_end_at_a_stop_is_said() -> None:
    from chat_templates import make_fast
    from mlx_lm.tokenizer_utils import TokenizerWrapper

    fast = make_fast("chatml")
    fast.eos_token = "<think>"
    encoder = RowEncoder(TokenizerWrapper(fast), DataSettings())
    (row,), problems = encoder.encode(chat("single-turn"))
    assert [problem.sort for problem in problems] == ["no stop"]
    assert row.target_count == 8  # "Paris.", the marker and the line feed


def test_plain_text_ends_with_the_end_token_and_trains_all_but_the_first() -> None:
    (row,), _ = encode("chatml", TextRecord("abc", ORIGIN))
    assert isinstance(row, Example)
    assert make_tokenizer("chatml").decode(list(row.tokens)) == "abc<|im_end|>"
    assert row.trained == (False, True, True, True)


def test_completions_are_chats_or_plain_text() -> None:
    record = CompletionRecord("2+2=", "4", ORIGIN)
    (as_chat,), _ = encode("chatml", record)
    (plain,), _ = encode("chatml", record, completions="plain")
    assert isinstance(as_chat, Example)
    assert isinstance(plain, Example)
    assert trained_text("chatml", as_chat) == trained_text("chatml", plain) == ["4<|im_end|>"]
    assert make_tokenizer("chatml").decode(list(plain.tokens)) == "2+2=4<|im_end|>"


def test_a_preference_has_one_prompt_and_two_trained_answers() -> None:
    prompt, good, bad = (
        ({"role": role, "content": text},)
        for role, text in (("user", "2+2?"), ("assistant", "4"), ("assistant", "five"))
    )
    (row,), _ = encode("chatml", PreferenceRecord(prompt, good, bad, (), ORIGIN))
    assert isinstance(row, Pair)
    assert trained_text("chatml", row.chosen) == ["4<|im_end|>"]
    assert trained_text("chatml", row.rejected) == ["five<|im_end|>"]
    size = row.chosen.prompt_size
    assert row.chosen.tokens[:size] == row.rejected.tokens[:size]
    (judged,), _ = encode("chatml", JudgementRecord(prompt, bad, False, (), ORIGIN))
    assert isinstance(judged, Judged)
    assert judged.example.tokens == row.rejected.tokens
    assert not judged.is_desirable


def test_a_token_across_the_border_is_split_as_a_chat_would_have_it() -> None:
    """The prompt ends with a line feed and the answer begins with one; the tokenizer has a token for both."""
    from mlx_lm.tokenizer_utils import TokenizerWrapper
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from edgelm.text.prompt import encode_chat

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {character: at for at, character in enumerate([*alphabet, "ĊĊ"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[("Ċ", "Ċ")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<end>", special=True)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    fast.chat_template = (
        "{% for m in messages %}{{ m.role + ':\\n' + m.content + '<end>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant:\\n' }}{% endif %}"
    )
    wrapped = TokenizerWrapper(fast)
    messages = ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "\nHello"})
    (row,), _ = RowEncoder(wrapped, DataSettings()).encode(ChatRecord(messages, (), ORIGIN))
    assert isinstance(row, Example)
    assert list(row.tokens[: row.prompt_size]) == encode_chat(wrapped, messages[:1])
    assert wrapped.decode(list(row.tokens[row.prompt_size :])) == "\nHello<end>"
    assert vocab["ĊĊ"] not in row.tokens
