"""An engine over tiny networks, and a tokenizer that fits them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tiny_networks import NETWORKS, VOCAB, build

from edgelm.runtime.engine import Engine
from edgelm.runtime.events import Finished, Token
from edgelm.runtime.requests import Request


class Driver:
    """An engine with the shortest way to ask it."""

    def __init__(self, network: Any, **options: Any) -> None:
        self.engine = Engine(network, vocab_size=VOCAB, **options)
        self.finished: Finished | None = None

    def run(self, prompt: Sequence[int], **request: Any) -> list[int]:
        """The sampled ids; what it cost is in `finished`, their log-probabilities in `logprobs`."""
        request = {"max_tokens": 8, "logprobs": 0, **request}
        events = list(self.engine.generate(Request(list(prompt), **request), threading.Event()))
        assert isinstance(events[-1], Finished)
        self.finished = events[-1]
        tokens = [event for event in events if isinstance(event, Token)]
        self.logprobs = [token.logprob for token in tokens]
        return [token.id for token in tokens]


@pytest.fixture
def network() -> Any:
    return build("llama")


@pytest.fixture(params=sorted(NETWORKS))
def any_network(request: pytest.FixtureRequest) -> Any:
    return build(request.param)


@pytest.fixture
def build_network() -> Callable[[str], Any]:
    return build


@pytest.fixture
def drive() -> Callable[..., Driver]:
    return Driver


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Bytes as tokens 0 to 255, `<end>`, and `<think>` markers; a ChatML-like template."""
    from mlx_lm.tokenizer_utils import TokenizerWrapper
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<end>", special=True)])
    tokenizer.add_tokens([AddedToken(marker, special=False) for marker in ("<think>", "</think>")])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    fast.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' and loop.previtem is defined"
        " and loop.previtem.role == 'user' %}{{ raise_exception('roles must alternate') }}{% endif %}"
        "{{ m.role + ': ' + m.content + '<end>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    return TokenizerWrapper(fast)
