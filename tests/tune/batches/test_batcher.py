"""Every row once an epoch, the same plan for the same seed, few shapes, little padding."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm.errors import OptionError
from edgelm.tune.batches.batcher import BatchPlan, BatchPlanner
from edgelm.tune.batches.buckets import choose_lengths, round_up
from edgelm.tune.batches.packing import MAX_PACK_TOKENS, choose_layout
from edgelm.tune.data.dataset import Dataset
from edgelm.tune.data.rows import Example, Judged, Pair, RowOrigin
from tests.tune.conftest import make_dataset

ORIGIN = RowOrigin("made", 1)


def chats(count: int, seed: int = 0) -> list[int]:
    """Lengths as chats have them: median 137, a tenth above 302."""
    drawn = np.random.default_rng(seed).lognormal(np.log(137), 0.62, count)
    return np.clip(drawn, 8, 1500).astype(int).tolist()


def example(tokens: list[int], trained_from: int = 1) -> Example:
    return Example(tuple(tokens), tuple(at >= trained_from for at in range(len(tokens))), ORIGIN)


@pytest.mark.slow
@given(
    sizes=st.lists(st.integers(2, 300), min_size=1, max_size=60),
    batch_tokens=st.integers(8, 2000),
    packing=st.booleans(),
    world=st.integers(1, 3),
    seed=st.integers(0, 5),
)
@settings(max_examples=150, deadline=None)
def test_every_row_once_an_epoch(
    sizes: list[int], batch_tokens: int, packing: bool, world: int, seed: int
) -> None:
    batcher = BatchPlanner(make_dataset(sizes), batch_tokens, seed, packing=packing, world=world)
    again = BatchPlanner(make_dataset(sizes), batch_tokens, seed, packing=packing, world=world)
    longest = round_up(max(sizes))
    for number in (0, 1, 7):
        plans = batcher.epoch(number)
        assert sorted(row for plan in plans for row in plan.rows) == list(range(len(sizes)))
        assert again.epoch(number) == plans
        assert len(plans) == batcher.batches_per_epoch
        for plan in plans:
            assert (len(plan.lanes), plan.length) in batcher.shapes
            assert len(plan.lanes) % world == 0
            assert len(plan.lanes) * plan.length <= max(batch_tokens, world * longest)
            for lane in plan.lanes:
                assert sum(sizes[row] - 1 for row in lane) <= plan.length
                assert plan.is_packed or len(lane) <= 1
    assert len(batcher.shapes) <= 9


def test_epochs_and_seeds_have_other_batches() -> None:
    data = make_dataset(chats(300))
    for packing in (False, True):
        batcher = BatchPlanner(data, 2048, packing=packing)
        first, second = (
            {frozenset(plan.rows) for plan in batcher.epoch(number) if len(plan.rows) > 1}
            for number in (0, 1)
        )
        # A length that few rows have brings the same few together again.
        assert len(first & second) <= len(first) // 6
        other = BatchPlanner(data, 2048, 1, packing=packing)
        assert other.epoch(0) != batcher.epoch(0)


def test_a_resume_continues_at_any_batch_without_replaying() -> None:
    data = make_dataset(chats(200))
    whole = [plan for number in range(3) for plan in BatchPlanner(data, 1024, 3, packing=True).epoch(number)]
    resumed = BatchPlanner(data, 1024, 3, packing=True)
    per_epoch = resumed.batches_per_epoch
    for position in (0, 5, per_epoch - 1, per_epoch, 2 * per_epoch + 3):
        epoch, batch = divmod(position, per_epoch)
        assert resumed.epoch(epoch)[batch] == whole[position]


@pytest.mark.parametrize(
    ("count", "batch_tokens"), [(2000, 1024), (2000, 2048), (2000, 4096), (500, 2048), (200, 4096)]
)
def test_packed_padding_is_below_one_percent(count: int, batch_tokens: int) -> None:
    batcher = BatchPlanner(make_dataset(chats(count)), batch_tokens, packing=True)
    assert batcher.pad_share <= 0.01
    assert len(batcher.shapes) <= 9


def test_a_few_long_rows_do_not_make_every_pack_long() -> None:
    """Attention costs the square of a pack's length: rows beyond most of the tokens go into batches of their own."""
    batcher = BatchPlanner(make_dataset([*chats(500), 1900]), 2048, packing=True)
    plans = batcher.epoch(0)
    (long,) = [plan for plan in plans if 500 in plan.rows]
    assert not long.is_packed
    assert max(plan.length for plan in plans if plan.is_packed) <= 1024


def test_unpacked_padding_is_a_fraction_of_that_of_sorted_fours() -> None:
    """mlx-lm's batches of 4 in file order have 0.47 padding on such lengths."""
    assert BatchPlanner(make_dataset(chats(2000)), 2048).pad_share <= 0.18


def test_rows_longer_than_a_pack_go_into_batches_of_their_own() -> None:
    batcher = BatchPlanner(make_dataset([MAX_PACK_TOKENS + 500, 50, 60, 70]), 4096, packing=True)
    plans = {plan.rows: plan for plan in batcher.epoch(0)}
    assert not plans[(0,)].is_packed
    assert all(plan.is_packed for rows, plan in plans.items() if rows != (0,))


def test_arrays_say_what_each_position_reads_and_is_trained_to_say() -> None:
    data = Dataset((example([5, 6, 7, 8], 2), example([1, 2, 3])))
    batch = BatchPlanner(data, 64).load(BatchPlan(((0,), (1,), ()), 5))
    assert batch.inputs.tolist() == [[5, 6, 7, 0, 0], [1, 2, 0, 0, 0], [0] * 5]
    assert batch.targets.tolist() == [[6, 7, 8, 0, 0], [2, 3, 0, 0, 0], [0] * 5]
    assert batch.weights.tolist() == [[0, 1, 1, 0, 0], [1, 1, 0, 0, 0], [0] * 5]
    assert batch.lengths.tolist() == [3, 2, 0]
    assert batch.segments is None
    assert batch.target_count == data.target_count == 4


def test_packed_arrays_number_the_rows_of_a_lane() -> None:
    data = Dataset((example([5, 6, 7, 8], 2), example([1, 2, 3])))
    batch = BatchPlanner(data, 64).load(BatchPlan(((0, 1),), 6, is_packed=True))
    assert batch.inputs.tolist() == [[5, 6, 7, 1, 2, 0]]
    assert batch.targets.tolist() == [[6, 7, 8, 2, 3, 0]]
    assert batch.weights.tolist() == [[0, 1, 1, 1, 1, 0]]
    assert batch.segments is not None
    assert batch.segments.tolist() == [[1, 1, 1, 2, 2, 0]]


def test_preferences_are_chosen_then_rejected() -> None:
    pairs = tuple(Pair(example([n, 1, 2]), example([n, 3, 4, 5]), ORIGIN) for n in (7, 8))
    batcher = BatchPlanner(Dataset(pairs, "preference"), 64)
    (plan,) = batcher.epoch(0)
    batch = batcher.load(BatchPlan(((0,), (1,)), plan.length))
    assert batch.inputs[:, :3].tolist() == [[7, 1, 0], [8, 1, 0], [7, 3, 4], [8, 3, 4]]
    assert batcher.shapes == {(4, plan.length)}


def test_both_answers_of_a_pair_lie_in_one_lane() -> None:
    rows = [Pair(example([n, *range(n % 5 + 2)]), example([n, *range(n % 3 + 2)]), ORIGIN) for n in range(40)]
    for world in (1, 2):
        batcher = BatchPlanner(Dataset(tuple(rows), "preference"), 64, packing=True, world=world)
        seen: list[int] = []
        for plan in batcher.epoch(0):
            for part in (plan.shard(rank, world) for rank in range(world)):
                batch = batcher.load(part)
                assert batch.inputs.shape == (len(part.lanes), plan.length)
                assert batch.sequences is not None
                places = batch.sequence_count // 2
                for lane, held in enumerate(part.lanes):
                    trained = batch.sequences[lane][batch.weights[lane] > 0]
                    assert {int(place) % places for place in trained} == {
                        part.rows.index(row) for row in held
                    }
                seen += part.rows
        assert sorted(seen) == list(range(40))
        assert len({plan.length for plan in batcher.epoch(0)}) == 1


def test_judgements_bring_their_labels() -> None:
    rows = tuple(Judged(example([1, 2, 3]), good, ORIGIN) for good in (True, False))
    batch = BatchPlanner(Dataset(rows, "kto"), 64).load(BatchPlan(((1,), (0,), ()), 8))
    assert batch.labels is not None
    assert batch.labels.tolist() == [False, True, False]


def test_workers_share_a_batch_in_one_shape() -> None:
    batcher = BatchPlanner(make_dataset(chats(101)), 2048, packing=True, world=3)
    for plan in batcher.epoch(0):
        parts = [plan.shard(rank, 3) for rank in range(3)]
        assert len({len(part.lanes) for part in parts}) == 1
        assert sorted(itertools.chain(*(part.rows for part in parts))) == sorted(plan.rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_tokens": 0}, "batch_tokens is 0, expected 1 or more"),
        ({"batch_tokens": 8, "world": 0}, "world is 0, expected 1 or more workers"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        BatchPlanner(make_dataset([5]), **settings)
    with pytest.raises(OptionError, match="there are no rows to train on"):
        BatchPlanner(Dataset(()), 8)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=12), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_lengths_are_the_best_there_are(sizes: list[int], limit: int) -> None:
    chosen = choose_lengths(sizes, limit)
    rounded = sorted({round_up(size) for size in sizes})

    def padding(lengths: tuple[int, ...]) -> int:
        return sum(min(length for length in lengths if length >= size) for size in sizes)

    others = [
        (*inner, rounded[-1])
        for count in range(limit)
        for inner in itertools.combinations(rounded[:-1], count)
    ]
    assert len(chosen) <= limit
    assert padding(chosen) == min(map(padding, others))


def test_packs_are_as_short_as_they_may_be() -> None:
    """Attention's cost grows with their square."""
    layout = choose_layout(sizes := [size - 1 for size in chats(2000)], 1024)
    assert layout is not None
    assert layout.shape.length <= 448
    assert layout.shape.packs % layout.shape.lanes == 0
    assert layout.lengths[-1] == round_up(max(sizes))


def test_rows_of_like_lengths_do_not_pad_for_short_packs() -> None:
    sizes = np.random.default_rng(0).integers(50, 67, 228).tolist()
    assert BatchPlanner(make_dataset(sizes), 512, packing=True).pad_share <= 0.045


def test_nothing_is_laid_out_where_every_row_is_too_long() -> None:
    assert choose_layout([MAX_PACK_TOKENS + 1] * 3, 1024) is None
    assert BatchPlanner(make_dataset([MAX_PACK_TOKENS + 9] * 3), 1024, packing=True).batches_per_epoch == 3


def test_the_hash_is_of_the_content() -> None:
    data = make_dataset([5, 6])
    assert data.sha256 == make_dataset([5, 6]).sha256
    moved = Dataset(tuple(Example(r.tokens, r.trained, RowOrigin("other", 9)) for r in data.sequences))
    assert moved.sha256 == data.sha256
    assert Dataset(data.rows[::-1]).sha256 != data.sha256
    first = data.rows[0]
    assert isinstance(first, Example)
    untrained = Example(first.tokens, (False,) * len(first.tokens), first.origin)
    assert Dataset((untrained, data.rows[1])).sha256 != data.sha256
