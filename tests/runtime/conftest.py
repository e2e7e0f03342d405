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


def hybrid() -> Any:
    """LFM2: convolution states beside ordinary attention."""
    from mlx_lm.models.lfm2 import Model, ModelArgs

    return Model(
        ModelArgs(
            model_type="lfm2",
            vocab_size=VOCAB,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=1024,
            norm_eps=1e-5,
            conv_bias=False,
            conv_L_cache=3,
            block_dim=32,
            block_multiple_of=8,
            block_ffn_dim_multiplier=1.0,
            block_auto_adjust_ff_dim=False,
            block_ff_dim=64,
            full_attn_idxs=[1],
        )
    )


def nested() -> Any:
    """Falcon H1: a recurrent state and attention in every layer, in one CacheList."""
    from mlx_lm.models.falcon_h1 import Model, ModelArgs

    return Model(
        ModelArgs(
            vocab_size=VOCAB,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            mamba_d_ssm=32,
            mamba_n_heads=2,
            mamba_d_head=16,
            mamba_d_state=8,
        )
    )


NETWORKS = {"llama": llama, "sliding": sliding, "recurrent": recurrent, "hybrid": hybrid, "nested": nested}
_built: dict[str, Any] = {}


def build(kind: str) -> Any:
    """The network, the same one for all tests."""
    if kind not in _built:
        from mlx.utils import tree_map_with_path

        mx.random.seed(7)
        network = NETWORKS[kind]()
        network.update(tree_map_with_path(_enlarge, network.parameters()))
        mx.eval(network.parameters())
        _built[kind] = network
    return _built[kind]


def _enlarge(path: str, values: mx.array) -> mx.array:
    """Weights large enough that what came before matters: at its own, a new network repeats its input."""
    is_layer = path.endswith("weight") and values.ndim == 2 and "embed" not in path
    return values * 4 if is_layer else values


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
