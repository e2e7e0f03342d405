"""Tiny seeded networks of every kind of cache, and a tokenizer that fits them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import pytest

from edgelm.runtime.engine import Engine
from edgelm.runtime.events import Finished, Token
from edgelm.runtime.requests import Request

VOCAB = 300
WINDOW = 16


def llama() -> Any:
    from mlx_lm.models.llama import Model, ModelArgs

    return Model(
        ModelArgs(
            model_type="llama",
            hidden_size=32,
            num_hidden_layers=2,
            intermediate_size=64,
            num_attention_heads=4,
            num_key_value_heads=2,
            rms_norm_eps=1e-5,
            vocab_size=VOCAB,
        )
    )


def sliding() -> Any:
    """Gemma 3: windows of 16 tokens in most layers, all tokens in every third."""
    from mlx_lm.models.gemma3_text import Model, ModelArgs

    return Model(
        ModelArgs(
            model_type="gemma3_text",
            hidden_size=32,
            num_hidden_layers=3,
            intermediate_size=64,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            vocab_size=VOCAB,
            sliding_window=WINDOW,
            sliding_window_pattern=3,
        )
    )


def recurrent() -> Any:
    from mlx_lm.models.mamba import Model, ModelArgs

    return Model(
        ModelArgs(
            model_type="mamba",
            vocab_size=VOCAB,
            hidden_size=32,
            intermediate_size=64,
            state_size=8,
            num_hidden_layers=2,
            conv_kernel=4,
            use_bias=False,
            use_conv_bias=True,
            time_step_rank=4,
        )
    )


NETWORKS = {"llama": llama, "sliding": sliding, "recurrent": recurrent}
_built: dict[str, Any] = {}


def build(kind: str) -> Any:
    """The network, the same one for all tests; weights large enough that no two logits are near."""
    if kind not in _built:
        from mlx.utils import tree_map

        mx.random.seed(7)
        network = NETWORKS[kind]()
        if kind != "recurrent":
            network.update(tree_map(lambda x: mx.random.normal(x.shape) * 0.3, network.parameters()))
        mx.eval(network.parameters())
        _built[kind] = network
    return _built[kind]


class Driver:
    """An engine with the shortest way to ask it."""

    def __init__(self, network: Any, **options: Any) -> None:
        self.engine = Engine(network, vocab_size=VOCAB, **options)
        self.finished: Finished | None = None

    def run(self, prompt: Sequence[int], **request: Any) -> list[int]:
        """The sampled ids; what it cost is in `finished`."""
        request = {"max_tokens": 8, **request}
        events = list(self.engine.generate(Request(list(prompt), **request), threading.Event()))
        assert isinstance(events[-1], Finished)
        self.finished = events[-1]
        return [event.id for event in events if isinstance(event, Token)]


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
