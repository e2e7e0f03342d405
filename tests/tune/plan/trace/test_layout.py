"""Strides follow numpy's: what it can view, MLX can."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm.tune.plan.trace import layout

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def strides_of(array: np.ndarray) -> tuple[int, ...]:
    return tuple(stride // array.itemsize for stride in array.strides)


@pytest.mark.slow
@given(shape=SHAPES, data=st.data())
@settings(max_examples=200, deadline=None)
def test_reshapes_are_views_where_numpy_says_so(shape: tuple[int, ...], data: st.DataObject) -> None:
    axes = data.draw(st.permutations(range(len(shape))))
    array = np.arange(math.prod(shape)).reshape(shape).transpose(axes)
    split = data.draw(st.integers(1, 4))
    targets = [(array.size,), (*array.shape, 1), (1, *array.shape)]
    if array.size % split == 0:
        targets += [(array.size // split, split), (split, array.size // split)]
    to = data.draw(st.sampled_from(targets))
    viewed = layout.reshaped(array.shape, strides_of(array), to)
    assert (viewed is not None) == np.shares_memory(array.reshape(to), array)
    if viewed is not None:
        seen = np.lib.stride_tricks.as_strided(array, to, [stride * array.itemsize for stride in viewed])
        assert (seen == array.reshape(to)).all()


@pytest.mark.slow
@given(shape=SHAPES, data=st.data())
@settings(max_examples=100, deadline=None)
def test_row_major_and_dense(shape: tuple[int, ...], data: st.DataObject) -> None:
    axes = data.draw(st.permutations(range(len(shape))))
    array = np.zeros(shape).transpose(axes)
    strides = layout.permuted(layout.row_major(shape), axes)
    assert layout.is_row_major(array.shape, strides) == array.flags.c_contiguous
    assert layout.is_dense(array.shape, strides)
    assert layout.distinct(array.shape, strides) == array.size


def test_repeated_axes() -> None:
    strides = layout.broadcast((3, 1), (1, 1), (2, 3, 4))
    assert strides == (0, 1, 0)
    assert layout.distinct((2, 3, 4), strides) == 3
    assert layout.is_dense((2, 3, 4), strides)
    assert not layout.is_dense((2, 2), (4, 1))


def test_what_matmul_reads_where_it_lies() -> None:
    assert layout.is_matrix((2, 3, 4), (12, 4, 1))
    assert layout.is_matrix((2, 4, 3), (12, 1, 4))
    assert not layout.is_matrix((2, 3, 4), (4, 8, 1))


def test_axes_of_one() -> None:
    assert layout.with_ones((2, 3), (3, 1), (2, 1, 3)) == (3, 1, 1)
    assert layout.with_ones((2, 1, 3), (3, 1, 1), (2, 3)) == (3, 1)
