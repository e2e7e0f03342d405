"""A reward model: conversations in, one number each out.

It is a base model with the reward adapter on it and a scalar head in the place of what makes logits. A score depends on the
whole conversation as the chat template writes it, exactly as in training. Lives on the thread that owns MLX.

Shapes: B conversations, T tokens of the longest, D hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from edgelm.adapters.base import check_weights
from edgelm.adapters.files import Adapter, read_adapter
from edgelm.adapters.find import find_adapter
from edgelm.adapters.scoring.files import check_template, read_score
from edgelm.adapters.scoring.head import ScoreHead, hidden_size
from edgelm.adapters.stack import AdapterStack
from edgelm.errors import FormatError, NotFoundError, RewardError
from edgelm.library.models import resolve
from edgelm.messages.values import MessageError
from edgelm.model.load import LoadedModel, load
from edgelm.tune.data.encoding.masks import ChatEncoder
from edgelm.tune.data.rows import RowOrigin
from edgelm.tune.reward_model.shared import sharing_copy
from edgelm.zoo.body_and_head import Cut, cut

BATCH_POSITIONS = 4096
"""B · T of one call at most, unless one conversation alone has more."""
_ROUND_TO = 16
"""T comes in multiples of this, so that few shapes are compiled."""

Messages = Sequence[Mapping[str, Any]]
"""A conversation that ends in the answer to be scored."""


@dataclass(frozen=True)
class RewardAdapter:
    """A reward model on the disk, checked and not loaded: the adapter, and the directory of its base."""

    adapter: Adapter
    base: Path

    @property
    def name(self) -> str:
        """The adapter's name."""
        return self.adapter.name


def find_reward_adapter(text: str) -> RewardAdapter:
    """Find the reward model that `text` means, a name of the library of adapters or a path, and its base.

    Raises:
        NotFoundError: there is none, it lacks its head, or its base is gone.
        UnsupportedError: it is an adapter that writes answers, or the base has other weights than it was trained on.
        FormatError: a file is broken.
    """
    adapter = read_adapter(find_adapter(text))
    read_score(adapter)
    base = _base_of(adapter)
    check_weights(adapter, base)
    return RewardAdapter(adapter, base)


def _base_of(adapter: Adapter) -> Path:
    named = adapter.config.base
    if named is None:
        raise NotFoundError(
            f"{adapter.directory} does not say which model it was trained on",
            hint="train it with edgelm tune --loss reward, or import it with --model MODEL",
        )
    path = Path(named)
    return path if path.is_dir() else resolve(path.name)


class RewardModel:
    """Gives every conversation a number: the better its last answer, the higher.

    Args:
        halves: the cut of the base with the adapter on it, in evaluation mode.
        head: the scalar head.
        encoder: writes conversations as in training.
        context_length: most tokens of one; None is without limit.
    """

    def __init__(
        self, name: str, halves: Cut, head: ScoreHead, encoder: ChatEncoder, context_length: int | None
    ) -> None:
        self.name = name
        self._halves, self._head, self._encoder, self._context = halves, head, encoder, context_length

    @classmethod
    def load(
        cls, found: RewardAdapter, *, beside: LoadedModel | None = None, check_fit: bool = True
    ) -> RewardModel:
        """Load a reward model.

        Args:
            beside: a model that is loaded already; where it is the base, and as it was loaded, its weights are used and none
                are read again.
            check_fit: refuse a base that would not fit in memory.

        Raises:
            FormatError: the adapter or its head does not fit the base.
            UnsupportedError: the base has another chat template than in training, or gives no hidden states.
            FitError: it would not fit.
        """
        adapter = found.adapter
        score = read_score(adapter)
        if beside is not None and beside.adapters.is_empty and _is_same_model(beside.directory, found.base):
            network, base = sharing_copy(beside.network), beside
        else:
            base = load(found.base, check_fit=check_fit)
            network = base.network
        check_template(adapter, base.tokenizer, base.directory)
        network.freeze()
        network.eval()
        size = hidden_size(network)
        if score.shape[1] != size:
            raise FormatError(
                f"the head of {adapter.name} is {score.shape[1]} wide, and {base.name} has hidden states of {size}"
            )
        AdapterStack(network).add(adapter)
        halves = cut(network)
        assert halves is not None  # `hidden_size` has cut it before
        return cls(adapter.name, halves, ScoreHead(score), ChatEncoder(base.tokenizer), base.context_length)

    def scores(self, conversations: Sequence[Messages]) -> list[float]:
        """Return the score of the last message of each conversation, many at once.

        Raises:
            RewardError: one cannot be written by the template, or is longer than the base's context.
        """
        ids = [self.ids(number, messages) for number, messages in enumerate(conversations)]
        scores = [0.0] * len(ids)
        for numbers in _batches([len(each) for each in ids]):
            for number, score in zip(numbers, self._scores([ids[at] for at in numbers]), strict=True):
                scores[number] = score
        wrong = next((at for at, score in enumerate(scores) if not np.isfinite(score)), None)
        if wrong is not None:
            raise RewardError(f"the reward model {self.name} scores answer {wrong + 1} with {scores[wrong]}")
        return scores

    def ids(self, number: int, messages: Messages) -> tuple[int, ...]:
        """Return the token ids of a conversation, the `number`th (from 0) in messages. For errors see `scores`."""
        origin = RowOrigin("answer", number + 1)
        try:
            tokens = self._encoder.encode(messages, [len(messages) - 1], origin).tokens
        except MessageError as error:
            raise RewardError(
                f"the reward model {self.name} cannot read answer {number + 1}: {error.reason}"
            ) from error
        if self._context is not None and len(tokens) > self._context:
            raise RewardError(
                f"answer {number + 1} makes a conversation of {len(tokens):,} tokens, and the context of the reward model"
                f" {self.name} is {self._context:,}"
            )
        return tokens

    def _scores(self, ids: Sequence[tuple[int, ...]]) -> list[float]:
        longest = max(map(len, ids))
        lanes = np.zeros((len(ids), -(-longest // _ROUND_TO) * _ROUND_TO), np.int32)
        for lane, tokens in zip(lanes, ids, strict=True):
            lane[: len(tokens)] = tokens
        # What stands behind a conversation is not seen by it: every network here is causal.
        hidden = self._halves.hidden(mx.array(lanes))
        last = mx.array([len(tokens) - 1 for tokens in ids])
        scores: Any = self._head(hidden[mx.arange(len(ids)), last]).tolist()
        return list(scores)


def _is_same_model(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _batches(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of conversations to be scored together, those of like length."""
    numbers: list[int] = []
    for number in sorted(range(len(sizes)), key=lambda at: sizes[at]):
        if numbers and (len(numbers) + 1) * sizes[number] > BATCH_POSITIONS:
            yield numbers
            numbers = []
        numbers.append(number)
    if numbers:
        yield numbers
