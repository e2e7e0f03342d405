"""Values and slopes are those of TRL's own trainers, on fixed logits.

The trainers are not built: their methods run on objects that hold the few settings they read, and a model of fixed logits.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from fixed_logits import FixedLogits, value_and_slopes

from edgelm.tune.objectives.grpo import GRPO, GRPOSettings
from edgelm.tune.objectives.objective import ADVANTAGES, MARGIN, OLD, MismatchedAnswers, TargetBatch
from edgelm.tune.objectives.registry import OBJECTIVES
from edgelm.tune.objectives.settings import ObjectiveSettings, make_objective

pytestmark = [pytest.mark.parity, pytest.mark.slow]

torch = pytest.importorskip("torch")

PAIRS = FixedLogits(((3, 5), (2, 7), (4, 3), (3, 8), (2, 6), (4, 4)))
"""Three chosen, three rejected."""
ONE_PAIR = FixedLogits(((3, 5), (3, 8)), seed=5)
NEAR = 1e-5


def same(value: Any) -> Any:
    return value


ACCELERATOR = SimpleNamespace(
    device="cpu", gather=same, gather_for_metrics=same, num_processes=1, reduce=lambda value, reduction: value,
    unwrap_model=same,
)  # fmt: skip


def stub(kind: Any, **settings: Any) -> Any:
    """A trainer of that kind without its set-up."""
    trainer = object.__new__(kind)
    common = {
        "accelerator": ACCELERATOR, "model": SimpleNamespace(training=True), "aux_loss_enabled": False,
        "_metrics": {"train": defaultdict(list)}, "_total_train_tokens": 0, "_tp_size": 1, "args": SimpleNamespace(),
        "is_encoder_decoder": False, "label_smoothing": 0.0,
    }  # fmt: skip
    for name, value in {**common, **settings}.items():
        object.__setattr__(trainer, name, value)
    return trainer


class FusedModel:
    """Log-probabilities where labels ask for them, as TRL's fused heads return them."""

    def __init__(self, rows: FixedLogits) -> None:
        self.log_probs = torch.tensor(rows.log_probs, requires_grad=True)

    def __call__(self, labels: Any, **_: Any) -> Any:
        asked = (labels[:, 1:] != -100).float()
        log_probs = self.log_probs * asked
        zeros = torch.zeros_like(log_probs)
        return SimpleNamespace(log_probs=log_probs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())


class LogitsModel:
    """Logits, as a plain model returns them."""

    def __init__(self, rows: FixedLogits) -> None:
        self.logits = torch.tensor(rows.logits, requires_grad=True)

    def __call__(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(logits=self.logits)


def check(settings: dict[str, Any], rows: FixedLogits, loss: Any, slopes: Any) -> None:
    objective = make_objective(ObjectiveSettings(**settings))
    got, got_slopes = value_and_slopes(objective, rows, rows.batch(objective))
    assert got == pytest.approx(loss.item(), rel=NEAR, abs=NEAR)
    np.testing.assert_allclose(got_slopes, slopes, rtol=NEAR, atol=NEAR)


def sums(rows: FixedLogits) -> tuple[Any, Any]:
    masked = torch.tensor(rows.reference) * torch.tensor(rows.mask()[:, 1:])
    return masked.sum(1).chunk(2)


def trl_dpo(
    rows: FixedLogits, loss_types: list[str], weights: list[float], beta: float, smoothing: float
) -> Any:
    from trl.trainer.dpo_trainer import DPOTrainer

    trainer = stub(
        DPOTrainer, beta=beta, loss_types=loss_types, loss_weights=weights, label_smoothing=smoothing, ld_alpha=None,
        precompute_ref_logps=True, f_divergence_type="reverse_kl", use_weighting=False,
    )  # fmt: skip
    model = FusedModel(rows)
    chosen, rejected = sums(rows)
    inputs = {
        "input_ids": torch.tensor(rows.ids), "completion_mask": torch.tensor(rows.mask()),
        "attention_mask": torch.tensor(rows.mask(with_prompt=True)), "ref_chosen_logps": chosen,
        "ref_rejected_logps": rejected,
    }  # fmt: skip
    loss = DPOTrainer._compute_loss(trainer, model, inputs, False)
    (slopes,) = torch.autograd.grad(loss, [model.log_probs])
    return loss, slopes.numpy()


@pytest.mark.parametrize(
    ("loss", "theirs"), [("dpo", "sigmoid"), ("hinge", "hinge"), ("ipo", "ipo"), ("robust", "robust")]
)
@pytest.mark.parametrize("sft_weight", [0.0, 0.7])
def test_losses_with_a_reference_are_those_of_its_dpo_trainer(
    loss: str, theirs: str, sft_weight: float
) -> None:
    smoothing = 0.2 if loss == "robust" else 0.0
    types, weights = ([theirs, "sft"], [1.0, sft_weight]) if sft_weight else ([theirs], [1.0])
    given = {"loss": loss, "beta": 0.3, "label_smoothing": smoothing, "sft_weight": sft_weight}
    check(given, PAIRS, *trl_dpo(PAIRS, types, weights, 0.3, smoothing))


def test_smoothed_labels_are_those_of_its_aot_of_a_single_pair() -> None:
    # Its sigmoid loss has lost label_smoothing; AOT sorts margins, of which one pair has a single one.
    expected = trl_dpo(ONE_PAIR, ["aot"], [1.0], 0.3, 0.2)
    check({"loss": "dpo", "beta": 0.3, "label_smoothing": 0.2}, ONE_PAIR, *expected)


def cut(rows: FixedLogits, *, is_chosen: bool) -> dict[str, Any]:
    half = slice(None, rows.count // 2) if is_chosen else slice(rows.count // 2, None)
    name = "chosen" if is_chosen else "rejected"
    ids, mask, whole = rows.ids[half], rows.mask()[half], rows.mask(with_prompt=True)[half]
    return {
        f"{name}_input_ids": torch.tensor(ids), f"{name}_attention_mask": torch.tensor(whole),
        f"{name}_labels": torch.tensor(np.where(mask == 1, ids, -100)),
    }  # fmt: skip


def trl_without_reference(kind: Any, **settings: Any) -> Any:
    trainer = stub(kind, padding_value=0, pad_token_id=0, **settings)
    model = LogitsModel(PAIRS)
    batch = {**cut(PAIRS, is_chosen=True), **cut(PAIRS, is_chosen=False)}
    loss, _ = kind.get_batch_loss_metrics(trainer, model, batch)
    (gradient,) = torch.autograd.grad(loss, [model.logits])
    return loss, gradient.numpy()


def check_logits(settings: dict[str, Any], loss: Any, gradient: Any) -> None:
    objective = make_objective(ObjectiveSettings(**settings))
    got, slopes = value_and_slopes(objective, PAIRS, PAIRS.batch(objective))
    assert got == pytest.approx(loss.item(), rel=NEAR)
    np.testing.assert_allclose(PAIRS.logit_gradient(slopes), gradient, rtol=NEAR, atol=NEAR)


@pytest.mark.parametrize("beta", [0.1, 1.5])
def test_orpo_is_its_own_with_the_prompt_in_the_likelihood(beta: float) -> None:
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer

    check_logits({"loss": "orpo", "beta": beta}, *trl_without_reference(ORPOTrainer, beta=beta))


@pytest.mark.parametrize(
    ("loss", "theirs", "alpha", "smoothing"),
    [
        ("cpo", "sigmoid", 1.0, 0.0),
        ("cpo", "sigmoid", 0.5, 0.1),
        ("cpo_hinge", "hinge", 1.0, 0.0),
        ("cpo_ipo", "ipo", 1.0, 0.0),
        ("simpo", "simpo", 0.0, 0.0),
        ("simpo", "simpo", 0.5, 0.1),
    ],
)
def test_cpo_and_simpo_are_those_of_its_cpo_trainer(
    loss: str, theirs: str, alpha: float, smoothing: float
) -> None:
    from trl.experimental.cpo.cpo_trainer import CPOTrainer

    given = {"loss": loss, "beta": 0.4, "sft_weight": alpha, "label_smoothing": smoothing}
    given |= {"gamma": 0.8} if loss == "simpo" else {}
    expected = trl_without_reference(
        CPOTrainer,
        beta=0.4,
        loss_type=theirs,
        cpo_alpha=alpha,
        label_smoothing=smoothing,
        simpo_gamma=0.8,
        alpha=0.0,
    )
    check_logits(given, *expected)


@pytest.mark.parametrize("shift", [0.5, -3.0])
def test_kto_is_its_own_where_the_divergence_counts_and_where_it_is_cut_at_zero(shift: float) -> None:
    from trl.trainer.kto_trainer import KTOTrainer

    rows, other = PAIRS, FixedLogits(PAIRS.sizes, seed=9)
    labels = [True, False, True, True, False, False]
    reference = other.log_probs - np.float32(shift / 5)
    trainer = stub(
        KTOTrainer, beta=0.3, loss_type="kto", calculate_KL=True, precompute_ref_logps=True, desirable_weight=1.3,
        undesirable_weight=0.6,
    )  # fmt: skip
    model, mask = FusedModel(rows), torch.tensor(rows.mask())
    object.__setattr__(
        trainer, "_compute_kl_logps", lambda *_: (torch.tensor(other.log_probs) * mask[:, 1:]).sum(1)
    )
    inputs = {
        "input_ids": torch.tensor(rows.ids), "completion_mask": mask, "label": torch.tensor(labels),
        "attention_mask": torch.tensor(rows.mask(with_prompt=True)),
        "ref_logps": (torch.tensor(rows.reference) * mask[:, 1:]).sum(1),
        "ref_KL_logps": (torch.tensor(reference) * mask[:, 1:]).sum(1),
    }  # fmt: skip
    loss = KTOTrainer._compute_loss(trainer, model, inputs, False)
    (slopes,) = torch.autograd.grad(loss, [model.log_probs])
    objective = make_objective(
        ObjectiveSettings(loss="kto", beta=0.3, desirable_weight=1.3, undesirable_weight=0.6)
    )
    plain = rows.batch(objective)
    mismatched = MismatchedAnswers(
        mx.array(other.log_probs.reshape(-1)), mx.array(reference.reshape(-1)), plain
    )
    batch = TargetBatch(
        plain.weights, plain.lanes, plain.lane_count, mx.array(labels), plain.columns,
        totals=objective.totals(plain, mismatched),
    )  # fmt: skip
    got, got_slopes = value_and_slopes(objective, rows, batch)
    assert got == pytest.approx(loss.item(), rel=NEAR)
    np.testing.assert_allclose(got_slopes, slopes.numpy(), rtol=NEAR, atol=NEAR)


@pytest.mark.parametrize("normaliser", ["grpo", "dapo", "dr_grpo"])
@pytest.mark.parametrize("importance", ["token", "sequence"])
@pytest.mark.parametrize(("beta", "epsilon_high"), [(0.0, 0.2), (0.2, 0.5)])
def test_grpo_is_its_own(normaliser: str, importance: str, beta: float, epsilon_high: float) -> None:
    from trl.trainer.grpo_trainer import GRPOTrainer

    rows = FixedLogits(tuple((3, answer) for answer in (5, 7, 3, 8)), seed=2)
    old = rows.log_probs + np.random.default_rng(3).normal(0, 0.5, rows.log_probs.shape).astype(np.float32)
    advantages = np.array([1.2, -0.7, 0.0, -1.1], np.float32)
    mask = rows.mask()[:, 3:]
    log_probs = torch.tensor(rows.log_probs[:, 2:], requires_grad=True)
    trainer = stub(
        GRPOTrainer, beta=beta, loss_type=normaliser, importance_sampling_level=importance, epsilon_low=0.2,
        epsilon_high=epsilon_high, top_entropy_quantile=1.0, off_policy_mask_threshold=None, use_vllm=False,
        _entropy_bonus_enabled=False, max_completion_length=20, current_gradient_accumulation_steps=1,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
    )  # fmt: skip
    given = lambda *_, **__: (log_probs, torch.zeros_like(log_probs), None)  # noqa: E731
    object.__setattr__(trainer, "_get_per_token_logps_and_entropies", given)
    inputs = {
        "prompt_ids": torch.tensor(rows.ids[:, :3]), "prompt_mask": torch.ones(4, 3, dtype=torch.long),
        "completion_ids": torch.tensor(rows.ids[:, 3:]), "completion_mask": torch.tensor(mask),
        "advantages": torch.tensor(advantages), "old_per_token_logps": torch.tensor(old[:, 2:]),
        "ref_per_token_logps": torch.tensor(rows.reference[:, 2:]), "num_items_in_batch": torch.tensor(mask.sum()),
    }  # fmt: skip
    loss = GRPOTrainer._compute_loss(trainer, None, inputs)
    (slopes,) = torch.autograd.grad(loss, [log_probs])
    objective = GRPO(
        GRPOSettings(
            normaliser=normaliser,
            importance=importance,
            epsilon_high=epsilon_high,
            beta=beta,
            answer_tokens=20,
        )
    )
    columns = {ADVANTAGES: np.broadcast_to(advantages[:, None], old.shape), OLD: old}
    got, got_slopes = value_and_slopes(objective, rows, rows.batch(objective, **columns))
    assert got == pytest.approx(loss.item(), rel=NEAR, abs=NEAR)
    np.testing.assert_allclose(got_slopes[:, 2:], slopes.numpy(), rtol=NEAR, atol=NEAR)
    assert not got_slopes[:, :2].any()


@pytest.mark.parametrize("center", [0.0, 0.01, 0.7])
@pytest.mark.parametrize("margins", [None, [0.0, 1.5, -0.25]])
def test_reward_is_its_own(center: float, margins: list[float] | None) -> None:
    from trl.trainer.reward_trainer import RewardTrainer

    given = np.array([0.3, -1.2, 2.5, 0.9, -0.4, 2.5], np.float32)
    scores = torch.tensor(given, requires_grad=True)
    trainer = stub(RewardTrainer, args=SimpleNamespace(center_rewards_coefficient=center or None))
    inputs: dict[str, Any] = {"attention_mask": torch.ones(6, 4, dtype=torch.long)}
    if margins is not None:
        inputs["margin"] = torch.tensor(margins)
    model = lambda **_: SimpleNamespace(logits=scores[:, None])  # noqa: E731
    loss = RewardTrainer.compute_loss(trainer, model, inputs)
    (slopes,) = torch.autograd.grad(loss, [scores])
    objective = make_objective(ObjectiveSettings(loss="reward", center_rewards=center))
    columns = {} if margins is None else {MARGIN: mx.array([*margins, 0, 0, 0])}
    batch = TargetBatch(mx.ones(6), mx.arange(6), 6, columns=columns)
    value = objective(mx.array(given), None, batch)
    assert value.loss.item() / 3 == pytest.approx(loss.item(), rel=NEAR)
    np.testing.assert_allclose(np.array(value.slopes) / 3, slopes.numpy(), rtol=NEAR, atol=NEAR)
    theirs = {name: values[0] for name, values in trainer._metrics["train"].items()}
    mean = np.array(value.metrics["reward"])
    assert mean[0] / mean[1] == pytest.approx(theirs["mean_reward"], rel=NEAR)
    for name in ("accuracy", "margin"):
        assert value.metrics[name].item() / 3 == pytest.approx(theirs[name], rel=NEAR)


def test_every_loss_that_a_run_can_train_is_held_against_it() -> None:
    assert set(OBJECTIVES) - {"sft"} == {
        "dpo", "hinge", "ipo", "robust", "kto", "orpo", "cpo", "cpo_hinge", "cpo_ipo", "simpo", "grpo",
        "reward",
    }  # fmt: skip
