"""Rows of one call under different adapters: each is computed as it is alone, and those of the base as if there were none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from lora_adapters import rows_of, write_lora
from tune_networks import make_network

from edgelm.adapters.acting import borrowed
from edgelm.adapters.files import read_adapter
from edgelm.adapters.stack import AdapterStack
from edgelm.adapters.use import AdapterUse
from edgelm.errors import EngineError, FitError, FormatError, NotFoundError, OptionError, UnsupportedError
from edgelm.runtime.runner import ModelRunner

IDS = [[5, 9, 2, 77, 31, 8], [64, 3, 3, 90, 12, 1], [11, 12, 13, 14, 15, 16], [5, 9, 2, 77, 31, 8]]

KINDS = [
    ("llama", None, r"(q|v|down)_proj", False),
    ("llama", 4, r"(q|v|down)_proj", True),
    ("llama-tied", None, r"(embed_tokens|o_proj)", False),
    ("llama-tied", None, r"(embed_tokens|o_proj)", True),
    ("qwen3_moe", 4, r"(switch_mlp|q_proj)", False),
]


@pytest.mark.parametrize(("kind", "bits", "targets", "dora"), KINDS)
def test_each_row_is_computed_under_its_own_adapters(
    kind: str, bits: int | None, targets: str, dora: bool, tmp_path: Path
) -> None:
    network = make_network(kind, bits=bits)
    one = AdapterUse(write_lora(tmp_path / "one", network, targets, seed=1, dora=dora))
    other = AdapterUse(write_lora(tmp_path / "other", network, targets, seed=2, rank=3))
    untouched = rows_of(ModelRunner(network), IDS)
    stack = AdapterStack(network)
    runner = ModelRunner(network, stack.acting)
    rows = [stack.variant_of(uses) for uses in ([one], [], [other, AdapterUse(one.directory, 0.5)], [other])]
    for length in (6, 18):  # experts sort from 64 choices on
        ids = [(each * 3)[:length] for each in IDS]
        mixed = rows_of(runner.of(rows), ids)
        for row, variant in enumerate(rows):
            assert mx.abs(mixed[row] - rows_of(runner.of([variant] * 4), ids)[row]).max().item() < 2e-5
    mixed = rows_of(runner.of(rows), IDS)
    assert mx.array_equal(mixed[1], untouched[1])  # the base's row has the base's bits
    assert mx.abs(mixed[0] - mixed[3]).max().item() > 1e-2
    assert len({row.key for row in rows}) == 4
    assert rows[1].key == ""
    assert mx.array_equal(rows_of(runner, IDS), untouched)


def test_what_was_set_acts_where_a_request_says_nothing(tmp_path: Path) -> None:
    network = make_network()
    use = AdapterUse(write_lora(tmp_path / "one", network))
    stack = AdapterStack(network)
    runner = ModelRunner(network, stack.acting)
    borrowed_ = stack.variant_of([use])
    expected, plain = rows_of(runner.of([borrowed_]), IDS[:1]), network(mx.array(IDS[:1]))
    stack.add(read_adapter(use.directory), weight=0.5)
    assert not mx.array_equal(network(mx.array(IDS[:1])), plain)
    whole = stack.variant_of([use])
    assert whole.key == borrowed_.key
    assert whole.key != stack.variant_of(None).key == stack.variant
    assert mx.array_equal(rows_of(runner.of([whole]), IDS[:1]), expected)
    stack.set("one", 1.0)
    assert stack.variant == whole.key
    assert mx.array_equal(network(mx.array(IDS[:1])), expected)
    assert mx.array_equal(rows_of(runner.of([stack.variant_of([])]), IDS[:1]), plain)


def test_as_many_stay_as_are_worth_it_and_those_in_use_are_computed_to_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(borrowed, "MOST_KEPT", 2)
    network = make_network()
    uses = [AdapterUse(write_lora(tmp_path / f"a{seed}", network, "q_proj", seed=seed)) for seed in range(4)]
    stack = AdapterStack(network)
    runner = ModelRunner(network, stack.acting)
    held = stack.variant_of([uses[0]])
    expected = rows_of(runner.of([held]), IDS[:1])
    size = stack.size_bytes
    for use in uses[1:]:
        assert stack.variant_of([use]).key
    assert stack.size_bytes == 3 * size  # two that are kept, and the one that is held
    assert mx.array_equal(rows_of(runner.of([held]), IDS[:1]), expected)
    again = stack.variant_of([uses[0]])
    assert (again.key, again.acting[0][0] is held.acting[0][0]) == (held.key, False)
    mixed = rows_of(runner.of([held, stack.acting.base, again]), [IDS[0]] * 3)  # one in memory twice
    assert all(mx.abs(mixed[row] - expected[0]).max().item() < 2e-5 for row in (0, 2))
    del held, again, mixed
    assert stack.size_bytes == 2 * size


def test_what_does_not_fit_is_refused_with_its_numbers_and_idle_ones_go_first(tmp_path: Path) -> None:
    network = make_network()
    first, second = (AdapterUse(write_lora(tmp_path / name, network)) for name in ("one", "two"))
    stack = AdapterStack(network)
    size = read_adapter(first.directory).size_bytes
    stack.price(lambda: size - stack.size_bytes)
    assert stack.variant_of([first]).key
    held = stack.variant_of([second])
    assert stack.size_bytes == size
    with pytest.raises(FitError, match=r"adapter one takes .* and 0 B are left"):
        stack.variant_of([first])
    assert held.acting


def test_an_adapter_that_was_trained_again_is_read_again(tmp_path: Path) -> None:
    network = make_network()
    directory = write_lora(tmp_path / "one", network, seed=1)
    stack = AdapterStack(network)
    before = stack.variant_of([AdapterUse(directory)])
    assert stack.variant_of([AdapterUse(directory)]).acting[0][0] is before.acting[0][0]
    directory.rename(tmp_path / "old")
    write_lora(directory, network, seed=2)
    assert stack.variant_of([AdapterUse(directory)]).key != before.key


def test_numbers_that_are_not_finite_are_refused_before_they_reach_other_rows(tmp_path: Path) -> None:
    network = make_network()
    directory = write_lora(tmp_path / "one", network, "q_proj")
    tensors = dict(read_adapter(directory).tensors)
    name = sorted(tensors)[1]
    mx.save_safetensors(
        str(directory / "adapters.safetensors"), {**tensors, name: tensors[name] * float("inf")}
    )
    with pytest.raises(FormatError, match=f"adapter one: {name} holds numbers that are not finite"):
        AdapterStack(network).variant_of([AdapterUse(directory)])


def test_what_cannot_act_on_rows_is_refused_by_name(tmp_path: Path) -> None:
    network = make_network()
    use = AdapterUse(write_lora(tmp_path / "one", network))
    stack = AdapterStack(network)
    with pytest.raises(OptionError, match="adapter one is named twice"):
        stack.variant_of([use, use])
    with pytest.raises(OptionError, match="finite"):
        stack.variant_of([AdapterUse(use.directory, float("nan"))])
    with pytest.raises(NotFoundError, match="no adapter none any more"):
        stack.variant_of([AdapterUse(tmp_path / "none")])
    config = use.directory / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora"', '"full"', 1))
    with pytest.raises(UnsupportedError, match="one is a full fine-tune"):
        stack.variant_of([use])


def test_rows_that_cannot_be_told_apart_are_no_guess(tmp_path: Path) -> None:
    network = make_network()
    stack = AdapterStack(network)
    variant = stack.variant_of([AdapterUse(write_lora(tmp_path / "one", network))])
    module: Any = network.layers[0].self_attn.q_proj
    with (
        stack.acting.on(ModelRunner(network, stack.acting).of([variant, stack.acting.base])._groups, 3),
        pytest.raises(EngineError, match="5 rows of a batch of 2"),
    ):
        module(mx.zeros((5, 64)))
