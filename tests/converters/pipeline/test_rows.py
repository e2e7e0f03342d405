"""Rows are followed through whatever `sanitize` does with them, and what is no move of rows is not taken for one."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import numpy as np
import pytest

from edgelm_converters.pipeline.rows import follow_rows
from edgelm_converters.sources.checkpoint import LazyTensor

Arrays = dict[str, mx.array]


def lazy(values: mx.array) -> LazyTensor:
    return LazyTensor(tuple(values.shape), values.dtype, lambda: values, "test")


@pytest.fixture
def tensors() -> Mapping[str, LazyTensor]:
    rng = np.random.default_rng(0)
    shapes = {
        "a": (6, 8),
        "b": (6, 8),
        "c": (6, 8),
        "wide": (12, 8),
        "experts": (3, 4, 8),
        "bias": (6,),
        "narrow": (6, 4),
    }
    return {name: lazy(mx.array(rng.normal(size=shape).astype(np.float32))) for name, shape in shapes.items()}


MOVES = {
    "renamed": lambda t: {"x": t["a"]},
    "stacked": lambda t: {"x": mx.stack([t["c"], t["a"], t["b"]])},
    "joined": lambda t: {"x": mx.concatenate([t["a"], t["wide"]])},
    "split": lambda t: dict(zip(("x", "y"), mx.split(t["wide"], 2, axis=0), strict=True)),
    "alternating": lambda t: {"x": mx.contiguous(t["experts"][..., ::2, :]), "y": t["experts"][..., 1::2, :]},
    "reordered": lambda t: {"x": t["wide"].reshape(2, 3, 2, -1).swapaxes(1, 2).reshape(12, -1)},
    "reshaped": lambda t: {"x": t["wide"].reshape(3, 4, -1)},
    "of one expert": lambda t: {"x": t["experts"][1]},
}


@pytest.mark.parametrize("move", MOVES)
def test_a_move_of_rows_is_followed(move: str, tensors: Mapping[str, LazyTensor]) -> None:
    rearrange = MOVES[move]
    expected = rearrange({name: tensor.read() for name, tensor in tensors.items()})
    found = follow_rows(rearrange, tensors, set(tensors))
    assert found.keys() == expected.keys()
    for name, rows in found.items():
        got = rows.assembled([tensors[source] for source in rows.sources])
        assert got.shape == expected[name].shape
        assert mx.array_equal(got.read(), expected[name])


def test_every_part_of_a_packed_matrix_moves_with_its_rows(tensors: Mapping[str, LazyTensor]) -> None:
    rows = follow_rows(MOVES["alternating"], tensors, {"experts"})["y"]
    scales = mx.arange(12).reshape(3, 4, 1)
    got = rows.assembled([lazy(scales)]).read()
    assert got.tolist() == [[[1], [3]], [[5], [7]], [[9], [11]]]


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a * 2, lambda a: a + 1, lambda a: -a, lambda a: a.T, lambda a: a[:, ::-1], lambda a: a.astype(mx.int32) * 3,
        lambda a: mx.concatenate([a, a], axis=1), lambda a: a.reshape(2, -1), lambda a: mx.softmax(a, axis=0),
    ],
)  # fmt: skip
def test_what_changes_values_or_columns_is_no_move(change, tensors: Mapping[str, LazyTensor]) -> None:
    assert follow_rows(lambda t: {"x": change(t["wide"])}, tensors, set(tensors)) == {}


def test_what_is_changed_in_place_is_no_move(tensors: Mapping[str, LazyTensor]) -> None:
    def double(given: Arrays) -> Arrays:
        given["a"] *= 2
        return {"x": given["a"], "y": given["b"]}

    assert follow_rows(double, tensors, set(tensors)).keys() == {"y"}


def test_labels_of_one_matrix_are_let_go_before_the_next(tensors: Mapping[str, LazyTensor]) -> None:
    """Those of a mixture's experts together are gigabytes."""
    rows = 1 << 16
    many = {
        f"{at}": LazyTensor((rows, 8), mx.float32, lambda: mx.zeros((rows, 8)), "test") for at in range(40)
    }
    mx.clear_cache()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    found = follow_rows(lambda t: {f"x{name}": array for name, array in t.items()}, many, set(many))
    assert len(found) == 40
    assert mx.get_peak_memory() - before < 12 * rows * 3 * 4


def test_matrices_of_two_widths_and_what_nobody_asks_for_are_left(tensors: Mapping[str, LazyTensor]) -> None:
    assert follow_rows(lambda t: {"x": mx.concatenate([t["a"], t["narrow"]])}, tensors, set(tensors)) == {}
    assert follow_rows(MOVES["renamed"], tensors, {"b"}) == {}


def test_a_rearrangement_that_goes_by_widths_is_given_the_tensors_themselves(
    tensors: Mapping[str, LazyTensor],
) -> None:
    assert follow_rows(lambda t: {"x": t["a"].reshape(6, 2, 4)}, tensors, set(tensors)) == {}
