"""Tiny seeded mlx-lm networks of every kind of cache."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

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
