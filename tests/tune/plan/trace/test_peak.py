"""The traced peak of steps is MLX's own, and recomputed layers are traced as they are computed."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from tune_steps import measure_step

from edgelm.device import detect
from edgelm.errors import UnsupportedError
from edgelm.tune.plan.trace import recomputed
from edgelm.tune.plan.trace.fusion import fuse
from edgelm.tune.plan.trace.graph import Graph, GraphNode, trace
from edgelm.tune.plan.trace.order import evaluation_order
from edgelm.tune.plan.trace.peak import find_peak
from edgelm.tune.plan.trace.step import BatchShape, batch_of, trace_step
from edgelm.tune.plan.trace.unread import build_unread
from edgelm.tune.settings import TuneSettings
from edgelm.tune.step.batch_arrays import arrays_of
from edgelm.tune.step.methods import make_trainable
from edgelm.tune.step.optimizer import Optimizer
from edgelm.tune.step.stepper import Stepper
from edgelm.zoo.network import build_network
from edgelm.zoo.tree import flat_arrays
from tests.tune.conftest import COMMON, config_of

pytestmark = pytest.mark.slow

WIDE = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "vocab_size": 2000,
    "num_hidden_layers": 3,
    "head_dim": 32,
}


def wide(family: str = "llama") -> dict[str, Any]:
    return {**COMMON, **WIDE, "model_type": family}


def measured_bytes(config: dict[str, Any], settings: TuneSettings, shape: BatchShape) -> int:
    """What a step takes beside what was there before."""
    network = build_network(config, Path("made"))
    mx.eval(network.parameters())
    return measure_step(network, config, settings, shape).working_bytes


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({}, BatchShape(4, 256)),
        ({"compiled": False}, BatchShape(4, 256)),
        ({"grad_checkpoint": True}, BatchShape(4, 256)),
        ({"method": "full"}, BatchShape(4, 256)),
        ({"loss_chunk": 0}, BatchShape(4, 256)),
        ({}, BatchShape(1, 512, is_packed=True)),
        ({"loss": "dpo"}, BatchShape(1, 512, is_packed=True, trained_share=0.6, places=16, copied=128)),
        ({"loss": "orpo"}, BatchShape(4, 256)),
        ({"loss": "kto"}, BatchShape(1, 512, is_packed=True, trained_share=0.6, places=8)),
    ],
)
def test_predicted_peaks_are_within_15_percent(changes: dict[str, Any], shape: BatchShape) -> None:
    config, settings = wide(), TuneSettings.build(**changes)
    step = trace_step(build_unread(config, {}, Path("made"), detect()), config, settings, shape)
    predicted = find_peak(step.graph).working_bytes
    assert predicted == pytest.approx(measured_bytes(config, settings, shape), rel=0.15)


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2", "phi3"])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_recomputing_by_hand_gives_the_same_gradient(
    name: str, method: str, tiny: Callable[[str], tuple[Any, dict[str, Any]]]
) -> None:
    network, _ = tiny(name)
    settings = TuneSettings.build(method=method)
    make_trainable(network, settings.method)
    stepper = Stepper(network, Optimizer(settings.optimizer), chunk=0, compiled=False)
    arrays = arrays_of(batch_of(BatchShape(2, 12)))
    arrays["inputs"] = mx.arange(24).reshape(2, 12)
    arrays["targets"] = arrays["targets"] + 5
    plain, loss, _ = stepper.differentiate(stepper.parameters, arrays)
    stepper.sync()
    by_hand, same = recomputed.differentiate(network, stepper.parameters, lambda: stepper.sums(arrays))
    assert float(same) == pytest.approx(float(loss), rel=1e-6)
    expected = flat_arrays(plain)
    assert flat_arrays(by_hand).keys() == expected.keys()
    for path, gradient in flat_arrays(by_hand).items():
        assert mx.allclose(gradient, expected[path], rtol=1e-4, atol=1e-4), path
    assert type(network.layers[0]).__name__ == type(network.layers[-1]).__name__


def test_an_unread_network_costs_nothing() -> None:
    """8 billion parameters: only shapes exist."""
    large = {
        **COMMON,
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "head_dim": 128,
    }
    config = {**large, "num_hidden_layers": 4, "num_attention_heads": 32, "vocab_size": 128_256}
    gc.collect()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    network = build_unread(config, {}, Path("made"), detect())
    step = trace_step(network, config, TuneSettings(), BatchShape(1, 512))
    assert mx.get_peak_memory() - before < 50e6
    assert step.weights_bytes > 4e9
    assert step.trainable_count == sum(
        value.size for value in flat_arrays(network.trainable_parameters()).values()
    )
    forward = 2 * 512 * (step.weights_bytes // 4)
    assert 1.5 * forward < step.work.flops < 3.5 * forward


def test_chains_are_fused_and_results_stay() -> None:
    graph = trace(lambda x: [mx.exp(x * 2 + 1), mx.exp(x)], [mx.zeros((4, 4))])
    fused = fuse(graph)
    assert [node.name for node in fused.nodes].count("Compiled") == 1
    assert len(fused.nodes) < len(graph.nodes)
    assert set(fused.results) <= {name for node in fused.nodes for name in node.outputs}
    assert sorted(evaluation_order(fused)) == list(range(len(fused.nodes)))


def test_elementwise_steps_write_into_what_nobody_needs() -> None:
    chain = trace(lambda x: [mx.exp(mx.exp(mx.exp(x)))], [mx.zeros((1000,))])
    assert find_peak(chain).working_bytes == 4000
    kept = trace(lambda x: [mx.exp(x), mx.exp(mx.exp(x))], [mx.zeros((1000,))])
    assert find_peak(kept).working_bytes == 8000


def test_what_a_kernel_is_still_to_read_is_not_written_into() -> None:
    """Measured on the CPU: the same number."""
    left, right = mx.random.normal((2, 512, 512))

    def chain(x: mx.array, y: mx.array) -> list[mx.array]:
        hidden = mx.exp(x @ y)
        hidden = mx.exp(hidden / hidden.sum(-1, keepdims=True) + 1)
        return [hidden / hidden.sum(-1, keepdims=True) * 2]

    predicted = find_peak(trace(chain, [left, right])).working_bytes
    assert predicted == pytest.approx(3 * left.nbytes, rel=0.02)


def test_views_take_no_memory_and_copies_do() -> None:
    view = trace(lambda x: [x.T[None]], [mx.zeros((10, 20))])
    assert find_peak(view).working_bytes == 0
    copy = trace(lambda x: [x.T.reshape(-1)], [mx.zeros((10, 20))])
    assert find_peak(copy).working_bytes == 800


def test_a_node_runs_after_what_it_reads() -> None:
    nodes = [GraphNode("Exp", (str(at),), (str(at + 1),)) for at in range(50)]
    nodes += [GraphNode("Add", (str(at), str(50 - at)), (f"sum {at}",)) for at in range(1, 50)]
    shapes = {name: (2,) for node in nodes for name in (*node.inputs, *node.outputs)}
    graph = Graph(
        tuple(nodes), shapes, dict.fromkeys(shapes, 4), ("0",), tuple(f"sum {n}" for n in range(1, 50))
    )
    seen = {"0"}
    for at in evaluation_order(graph):
        assert set(graph.nodes[at].inputs) <= seen
        seen |= set(graph.nodes[at].outputs)
    assert shapes.keys() - seen == {"50"}, "nobody needs it"


def test_what_cannot_be_exported_is_said(tiny: Callable[[str], tuple[Any, dict[str, Any]]]) -> None:
    network, config = tiny("llama")
    layer = network.layers[0]
    plain = type(layer)

    class Custom(plain):  # type: ignore[misc, valid-type]
        def __call__(self, x: mx.array, *rest: Any, **named: Any) -> Any:
            return mx.checkpoint(lambda y: plain.__call__(self, y, *rest, **named))(x)

    layer.__class__ = Custom
    with pytest.raises(UnsupportedError, match="a training step of llama cannot be priced before it is run"):
        trace_step(network, config, TuneSettings(), BatchShape(1, 8))


def test_quantized_weights_stay_packed_where_the_device_keeps_them() -> None:
    from edgelm.device import simulate
    from edgelm.zoo.weights.safetensors_header import TensorInfo

    config = {**config_of("llama"), "hidden_size": 64, "quantization": {"group_size": 32, "bits": 4}}
    path = "model.layers.0.self_attn.q_proj"
    headers = {
        f"{path}.weight": TensorInfo("U32", (32, 8), 0, 1024),
        f"{path}.scales": TensorInfo("F16", (32, 2), 0, 128),
        f"{path}.biases": TensorInfo("F16", (32, 2), 0, 128),
    }
    network = build_unread(config, headers, Path("made"), simulate("M3 Pro", 18))
    attention = network.layers[0].self_attn
    assert attention.q_proj.weight.dtype == mx.uint32
    assert attention.q_proj.scales.dtype == mx.float16
    assert attention.k_proj.weight.dtype == mx.float16
