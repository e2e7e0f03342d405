"""Sensitivities: each is the divergence of the whole network with that tensor alone quantized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from edgelm.quant.apply import quantizable
from edgelm.quant.layers.measure import Sensitivities
from edgelm.quant.layers.sensitivity import MEASURED_BITS, OUTER_BITS, Sensitivity
from edgelm.quant.matrix import formats
from edgelm.quant.matrix.formats import Settings
from edgelm.quant.matrix.search import QUICK, THOROUGH, Effort
from edgelm.quant.streams.activations import Activations
from edgelm.quant.streams.walk import Walk
from edgelm.zoo.network import build_network

VOCABULARY = 512
CONFIG: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": VOCABULARY, "rms_norm_eps": 1e-5,
    "head_dim": 16,
}  # fmt: skip


def parameters_of(network: Any) -> dict[str, mx.array]:
    flat: Any = tree_flatten(network.parameters())
    return {
        path: mx.random.normal(value.shape) * 0.15 if value.ndim > 1 else mx.ones(value.shape)
        for path, value in flat
    }


class Case:
    """A seeded network, and what measures it."""

    def __init__(
        self, spill: Path, *, tied: bool, sequential: bool, config: dict[str, Any] = CONFIG,
        known: Mapping[str, Sensitivity] | None = None,
    ) -> None:  # fmt: skip
        mx.random.seed(3)
        config = {**config, "tie_word_embeddings": tied}
        self.network = build_network(config, Path("nowhere"))
        self.parameters = parameters_of(self.network)
        self.network.update(tree_unflatten(list(self.parameters.items())))
        self.paths = list(quantizable(self.network))
        self.sample = mx.random.randint(0, VOCABULARY, (2, 24))
        text = [mx.random.randint(0, VOCABULARY, (4, 64)) for _ in range(2)]
        # Walks hook their network: the plain one stays as it is.
        walked = build_network(config, Path("nowhere"))
        walk = Walk(walked, self.parameters.__getitem__, [self.sample, *text], Activations(1 << 30, spill))
        walk.load(None)
        self.method = Sensitivities(walk, self.paths, sampled=1, sequential=sequential, known=known)

    def divergence(self, path: str, weight: mx.array) -> float:
        """Mean KL of the plain network with one weight changed."""
        expected = self._log_probabilities()
        self.network.update(tree_unflatten([(f"{path}.weight", weight)]))
        found = self._log_probabilities()
        self.network.update(tree_unflatten([(f"{path}.weight", self.parameters[f"{path}.weight"])]))
        return float((mx.exp(expected) * (expected - found)).sum(axis=-1).mean().item())

    def _log_probabilities(self) -> mx.array:
        logits = self.network(self.sample)
        return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def searched(weight: mx.array, bits: int, effort: Effort = QUICK) -> mx.array:
    settings = {"bits": bits, "group_size": 64, "mode": "affine"}
    return formats.dequantized(formats.searched(weight, settings, None, effort), settings)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("sequential", [True, False])
def test_it_is_the_divergence_with_that_tensor_alone_quantized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tied: bool, sequential: bool
) -> None:
    case = Case(tmp_path, tied=tied, sequential=sequential)
    made: dict[tuple[int, int], mx.array] = {}
    perturb = Sensitivities._perturbed

    def noted(self: Sensitivities, weight: mx.array, settings: Settings, reached: Any) -> mx.array:
        path = next(p for p in case.paths if mx.array_equal(case.parameters[f"{p}.weight"], weight))
        made[case.paths.index(path), settings["bits"]] = perturb(self, weight, settings, reached)
        return made[case.paths.index(path), settings["bits"]]

    monkeypatch.setattr(Sensitivities, "_perturbed", noted)
    measured = case.method.measure()
    assert set(measured) == set(case.paths)
    for at, path in enumerate(case.paths):
        widths = (MEASURED_BITS,) if ".layers." in path else OUTER_BITS
        assert tuple(measured[path].kl) == widths
        for bits in widths:
            # An embedding that is no head is looked up in its codes.
            weight = (
                made[at, bits] if (at, bits) in made else searched(case.parameters[f"{path}.weight"], bits)
            )
            assert measured[path].kl[bits] == pytest.approx(case.divergence(path, weight), rel=0.01)
    assert ((case.paths.index("model.embed_tokens"), OUTER_BITS[0]) in made) is tied


@pytest.mark.slow
@pytest.mark.parametrize("sequential", [True, False])
def test_a_tied_embedding_is_measured_as_it_will_be_quantized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sequential: bool
) -> None:
    case, path = Case(tmp_path, tied=True, sequential=sequential), "model.embed_tokens"
    # As in trained networks, the head meets a few strong channels.
    case.method.walk.use({"model.norm.weight": mx.where(mx.arange(64) % 8 == 0, 8.0, 0.5)})
    weight, made = case.parameters[f"{path}.weight"], {}
    perturb = Sensitivities._perturbed

    def noted(self: Sensitivities, given: mx.array, settings: Settings, reached: Any) -> mx.array:
        found = perturb(self, given, settings, reached)
        if given.shape == weight.shape:
            made[settings["bits"]] = found
        return found

    monkeypatch.setattr(Sensitivities, "_perturbed", noted)
    case.method.measure()
    found = case.method.head_hessian("source")
    assert found is not None

    def loss(other: mx.array) -> float:
        return float((((other - weight) @ found[1]) * (other - weight)).sum().item())

    for bits in (2, 3, 4):
        assert loss(made[bits]) < 0.8 * loss(searched(weight, bits, THOROUGH))


@pytest.mark.slow
def test_other_widths_follow_the_error_of_the_weights(tmp_path: Path) -> None:
    case = Case(tmp_path, tied=True, sequential=True)
    found = case.method.measure()["model.layers.1.mlp.up_proj"]
    expected = [found.expected_kl(bits, 64, 64) for bits in (2, 3, 4, 6, 8)]
    assert expected == sorted(expected, reverse=True)
    assert expected[1] == found.kl[3]
    assert found.expected_kl(3, 32, 64) < expected[1]


@pytest.mark.slow
def test_what_every_layer_is_given_of_a_tensor_counts(tmp_path: Path) -> None:
    """Gemma 4 looks tokens up for every layer anew: that table is most of a small one, and must not seem free."""
    config = {
        "model_type": "gemma4_text", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": VOCABULARY, "head_dim": 16,
        "global_head_dim": 16, "num_kv_shared_layers": 2, "hidden_size_per_layer_input": 64, "sliding_window": 16,
        "vocab_size_per_layer_input": VOCABULARY, "layer_types": ["sliding_attention", "full_attention"] * 2,
    }  # fmt: skip
    case = Case(tmp_path, tied=True, sequential=True, config=config)
    measured = case.method.measure()
    for path in ("model.embed_tokens_per_layer", "model.per_layer_model_projection"):
        weight = searched(case.parameters[f"{path}.weight"], 2)
        assert measured[path].kl[2] == pytest.approx(case.divergence(path, weight), rel=0.01)
        assert measured[path].kl[2] > 0.01


@dataclass(frozen=True)
class Whole:
    """A walk that nothing stopped."""

    measured: dict[str, Sensitivity]
    by_then: list[dict[str, Sensitivity]]
    """What had been found before each part, and at the end."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    by_then: list[dict[str, Sensitivity]] = [{}]
    case = Case(tmp_path_factory.mktemp("whole"), tied=True, sequential=True)
    measured = case.method.measure(on_part=lambda found, _: by_then.append(dict(found)))
    assert len(by_then) == case.method.parts + 1
    return Whole(measured, by_then)


@pytest.mark.slow
@pytest.mark.parametrize("stopped_after", [0, 1, 3, 4])
def test_it_goes_on_with_the_same_result(tmp_path: Path, whole: Whole, stopped_after: int) -> None:
    known: list[bool] = []
    again = Case(tmp_path, tied=True, sequential=True, known=whole.by_then[stopped_after]).method
    assert again.measure(on_part=lambda _, was_known: known.append(was_known)) == whole.measured
    assert known == [at < stopped_after for at in range(again.parts)]


@pytest.mark.slow
def test_what_stops_it_comes_out_and_what_it_had_found_is_the_same(tmp_path: Path, whole: Whole) -> None:
    found: list[dict[str, Sensitivity]] = []

    def stop(by_then: Mapping[str, Sensitivity], _: bool) -> None:
        found.append(dict(by_then))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Case(tmp_path, tied=True, sequential=True).method.measure(on_part=stop)
    assert found == [whole.by_then[1]]


@pytest.mark.slow
def test_experts_are_measured_too(tmp_path: Path) -> None:
    config = {
        "model_type": "qwen3_moe", "hidden_size": 64, "intermediate_size": 96, "moe_intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": VOCABULARY,
        "rms_norm_eps": 1e-5, "head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "decoder_sparse_step": 1,
        "mlp_only_layers": [], "norm_topk_prob": True, "rope_theta": 1e4, "max_position_embeddings": 512,
        "tie_word_embeddings": False,
    }  # fmt: skip
    mx.random.seed(4)
    network = build_network(config, Path("nowhere"))
    parameters = parameters_of(network)
    batches = [mx.random.randint(0, VOCABULARY, (2, 32)) for _ in range(3)]
    walk = Walk(network, parameters.__getitem__, batches, Activations(1 << 30, tmp_path))
    walk.load(None)
    paths = list(quantizable(network))
    measured = Sensitivities(walk, paths, sampled=1, sequential=True).measure()
    assert all(found.kl[MEASURED_BITS] > 0 for found in measured.values())
    assert measured["model.layers.0.mlp.switch_mlp.up_proj"].errors["3/64"] > 0
