"""A request becomes a run: its model's config and its data are checked before anything is loaded.

    run = begin(TuneRequest(model, "examples.jsonl"))
    for event in run.events():
        …

`resume` goes on with one that was begun before.
"""

from __future__ import annotations

from typing import Any

from edgelm import log, paths
from edgelm.adapters.base import AdapterBase, describe_base
from edgelm.atomic import refuse_existing
from edgelm.errors import (
    FormatError,
    NotFoundError,
    OptionError,
    UnsupportedError,
)
from edgelm.library.names import check_name
from edgelm.model.load import load_tokenizer
from edgelm.progress import OnProgress, ignore_progress
from edgelm.runs.control import RunControl
from edgelm.runs.folder import RunFolder, create_run
from edgelm.tune.data.prepare import Prepared, prepare
from edgelm.tune.data.reading.sources import find_sources
from edgelm.tune.loop.training_run import TrainingRun
from edgelm.tune.loop.workers import Workers
from edgelm.tune.objectives.settings import make_objective
from edgelm.tune.request import TuneRequest
from edgelm.tune.reward_model.named import read_all_rewards
from edgelm.tune.rollouts.asked_data import AskedData, split_questions
from edgelm.tune.rollouts.questions import read_questions
from edgelm.tune.step.methods import chosen_modules
from edgelm.zoo.configs import normalise as configs
from edgelm.zoo.network import build_network


def begin(
    request: TuneRequest,
    *,
    control: RunControl | None = None,
    workers: Workers | None = None,
    on_progress: OnProgress = ignore_progress,
) -> TrainingRun:
    """Check a request and its data, and make its run.

    Raises:
        NotFoundError, FormatError, UnsupportedError: the model or the data; every bad row is named.
        OptionError: a setting, or a target or layer that the model does not have.
        OutputError: the output is there already.
    """
    if not request.model.is_dir():
        raise NotFoundError(f"{request.model} is not a directory")
    name = check_name(request.name) if request.name is not None else None
    output = request.output or (paths.adapters() / name if name else None)
    if output is not None:
        refuse_existing(output, hint="choose another --name or --output")
    if name is not None:
        refuse_existing(paths.runs() / name, hint="a run has this name; choose another --name")
    joined = workers or Workers.alone()
    config, data, base = _inputs(request, on_progress)
    _check_kind(request, config, data, joined)
    chosen_modules(build_network(config, request.model), request.settings.method)
    record = {
        "request": request.to_json(),
        "base_sha256": base.sha256,
        "data_sha256": data.train.sha256,
        "validation_sha256": data.validation.sha256 if data.validation else None,
    }
    folder = _make_run(request, record, joined)
    orders = control or _control(folder, joined)
    return TrainingRun(request, folder, data, base, config, orders, joined, is_new=True)


_ROWS = {
    "sft": ("examples to imitate", "give rows with messages, a prompt and a completion, or text"),
    "preference": ("preferences", "give rows with a prompt, a chosen and a rejected answer"),
    "kto": ("judged answers", "give rows with a prompt, a completion and a label"),
    "rollout": ("questions", "give rows with a prompt"),
}
"""Rows of each kind in words, and how they are written."""


def _check_kind(request: TuneRequest, config: dict[str, Any], data: Prepared, workers: Workers) -> None:
    loss = request.settings.objective.loss
    objective = make_objective(request.settings.objective)
    wanted = objective.data_kind
    if data.train.kind != wanted:
        what, hint = _ROWS[wanted]
        raise UnsupportedError(
            f"{request.data} holds {data.train.kind} rows, and the loss {loss} trains only {what}", hint=hint
        )
    if wanted == "rollout":
        _check_rollouts(request, workers)
    if objective.scores_answers:
        _check_scores(request)
    # On the CPU a quantized base is unpacked, and training it would even work; its result would fit no other machine.
    if request.settings.method.method == "full" and config.get("quantization"):
        raise UnsupportedError(
            f"{request.model.name} is quantized, and quantized weights cannot be trained themselves",
            hint="--method lora trains an adapter on them; edgelm convert --mode none keeps weights trainable",
        )


def _check_scores(request: TuneRequest) -> None:
    if "head" in request.settings.method.targets:
        raise OptionError(
            f"targets is {','.join(request.settings.method.targets)}, and a reward model has no use for the output head",
            hint="leave head out: its own scalar head is trained in any case",
            settings=("targets",),
        )


def _check_rollouts(request: TuneRequest, workers: Workers) -> None:
    if workers.size > 1:
        raise UnsupportedError(
            f"grpo is asked of {workers.size} machines, and draws its answers on one",
            hint="start it without mlx.launch",
        )
    if request.settings.method.method == "full" and request.settings.objective.beta:
        raise UnsupportedError(
            "a full fine-tune that is held near its reference would need the model twice",
            hint="leave out --beta, or train an adapter",
        )


def _questions(
    request: TuneRequest, tokenizer: Any, config: dict[str, Any], source: str, validation: str | None
) -> Prepared:
    """What is asked; every row is read as far as rewards and the model's context go."""
    settings = request.settings
    context = configs.context_length(config)
    longest = None if context is None else context - settings.objective.rollout_tokens
    if longest is not None and longest < 1:
        raise OptionError(
            f"rollout_tokens is {settings.objective.rollout_tokens}, and the model's context {context}",
            settings=("rollout_tokens",),
        )
    with read_all_rewards(settings.rollouts.reward) as rewards:
        read = read_questions(source, tokenizer, rewards, longest=longest)
        other = read_questions(validation, tokenizer, rewards, longest=longest) if validation else None
    hint = "docs/reinforcement.md says what rows that are answered and rewarded look like"
    for part in (read, other):
        if part is not None:
            part.report.require_clean(hint)
    share = 0.0 if other else request.hold_out
    trained, held = split_questions(read.rows, share, settings.loop.seed)
    held = other.rows if other else held
    return Prepared(AskedData.of(trained), AskedData.of(held) if held else None, read.report)


def _make_run(request: TuneRequest, record: dict[str, Any], workers: Workers) -> RunFolder:
    """The first worker makes it; the others, which write nothing, only need to know about it."""
    if workers.is_first:
        return create_run(request.model.absolute().name, request.settings.method.method, record, request.name)
    return RunFolder(paths.runs() / (request.name or "elsewhere"))


def resume(
    folder: RunFolder,
    *,
    control: RunControl | None = None,
    workers: Workers | None = None,
    on_progress: OnProgress = ignore_progress,
) -> TrainingRun:
    """Go on with a run from its last checkpoint, or from its beginning if it has none.

    Raises:
        NotFoundError, FormatError: the run, its model or its data are gone, or the data or model are not what they were.
    """
    record = folder.config
    request = TuneRequest.from_json(record["request"])
    config, data, base = _inputs(request, on_progress)
    hashes = {"base_sha256": base.sha256, "data_sha256": data.train.sha256}
    for key, value in hashes.items():
        if record[key] != value:
            what = request.data if key == "data_sha256" else request.model
            raise FormatError(
                f"{what} changed since run {folder.name} began ({record[key][:12]}, now {value[:12]})",
                hint="a resumed run would not be the run that began; begin a new one",
            )
    joined = workers or Workers.alone()
    return TrainingRun(request, folder, data, base, config, control or _control(folder, joined), joined)


def _control(folder: RunFolder, workers: Workers) -> RunControl:
    """Orders are taken by the first worker, which tells the others."""
    return RunControl(folder.control if workers.is_first else None)


def _inputs(request: TuneRequest, on_progress: OnProgress) -> tuple[dict[str, Any], Prepared, AdapterBase]:
    config = configs.normalise_config(configs.read_config(request.model))
    tokenizer = load_tokenizer(request.model, config)
    sources = find_sources(request.data)
    validation = request.validation or sources.validation
    if request.settings.objective.loss == "grpo":
        return (
            config,
            _questions(request, tokenizer, config, sources.train, validation),
            describe_base(request.model),
        )
    data = prepare(
        sources.train,
        tokenizer,
        request.data_settings,
        validation=validation,
        hold_out=0.0 if validation else request.hold_out,
        seed=request.settings.loop.seed,
        is_scored=make_objective(request.settings.objective).scores_answers,
        on_progress=on_progress,
    )
    data.report.require_clean()
    for problem in data.report.warnings:
        log.logger.info("%s", problem)
    return config, data, describe_base(request.model)
