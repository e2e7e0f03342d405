"""`edgelm convert SOURCE`: published weights in, a quantized MLX model out, and the receipt."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.cli.parsing.actions import check_file
from edgelm.cli.parsing.model_flags import add_place
from edgelm.cli.show.output import print_json, say, warn
from edgelm.cli.show.progress_bars import progress_bars
from edgelm.cli.show.quality_rows import loss_rows
from edgelm.cli.show.two_columns import print_two_columns
from edgelm.errors import OptionError
from edgelm.units import count, format_bytes, format_seconds

if TYPE_CHECKING:
    from edgelm_converters.conversion import Conversion
    from edgelm_converters.convert import Converted
    from edgelm_converters.estimate import StepEstimate

EXAMPLES = (
    "edgelm convert HuggingFaceTB/SmolLM2-135M-Instruct --bits 4",
    "edgelm convert model.Q4_K_M.gguf --name my-model",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    from edgelm_converters.conversion import Conversion

    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a Hub id, a Hugging Face, PyTorch or Meta directory, a .gguf file, or an installed model package (smollm2)",
    )
    add_place(parser, "the library", "the source, its width and quality")
    parser.add_argument(
        "--force", action="store_true", help="replace a model, or a file, that is there already"
    )
    parser.add_argument("--revision", help="a Hub branch, tag or commit (default: the newest)")
    Conversion.add_flags(parser)
    parser.add_argument("--svg", metavar="FILE", help="draw what each layer lost and its bits (.svg or .png)")
    parser.add_argument("--json", action="store_true", help="print the manifest as JSON on stdout")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from edgelm_converters.conversion import Conversion
    from edgelm_converters.convert import convert

    wanted = Conversion.from_flags(arguments)
    if arguments.svg:
        _check_chart(Path(arguments.svg), wanted)
        check_file(arguments.svg, arguments)
    with progress_bars() as on_progress:
        made = convert(
            arguments.source,
            arguments.output,
            name=arguments.name,
            force=arguments.force,
            revision=arguments.revision,
            on_progress=on_progress,
            on_estimate=_say_estimate,
            **vars(wanted),
        )
    if arguments.svg:
        _draw(Path(arguments.svg), made)
    if arguments.json:
        size_bytes, weights_bytes = _sizes(made)
        sizes = {"size_bytes": size_bytes, "weights_bytes": weights_bytes}
        print_json({"directory": str(made.directory), **vars(made.manifest), **sizes})
    else:
        _show(made)


def _check_chart(path: Path, wanted: Conversion) -> None:
    from edgelm.charts import check_format

    check_format(path)
    if not wanted.measured_tokens:
        raise OptionError(
            "--svg draws what was lost, and that is not measured", hint="add --quality, or --loss-tokens 4096"
        )


def _draw(path: Path, made: Converted) -> None:
    from edgelm.cli.show.layer_chart import plot_layers
    from edgelm.evaluate.receipt import quality_of

    quality = quality_of(made.manifest.receipt)
    if quality is None:
        warn(f"{path} was not drawn: what was lost was not measured")
        return
    plot_layers(
        path,
        quality,
        title=f"{made.directory.name}, {quality.method}, {quality.bits_per_weight:.3g} bits per weight",
    )


def _say_estimate(found: StepEstimate) -> None:
    spilled = f", {format_bytes(found.spilled_bytes)} of disk" if found.spilled_bytes else ""
    after = {
        "calibrating": "stopped, it goes on where it was",
        "measuring sensitivity": "once for all budgets",
        "distilling": "stopped, it starts anew",
        "measuring the loss": "--loss-tokens 0 leaves it out",
    }[found.task]
    memory = f" and {format_bytes(found.memory_bytes)} of memory" if found.memory_bytes else ""
    say(f"{found.task} takes about {format_seconds(round(found.elapsed_s))}{memory}{spilled}; {after}")
    if found.later_s:
        later = ", ".join(f"{name} {format_seconds(round(took))}" for name, took in found.later_s.items())
        whole = found.elapsed_s + sum(found.later_s.values())
        say(f"besides about {later}: {format_seconds(round(whole))} from here in all")


def _show(made: Converted) -> None:
    print_two_columns(_rows(made))
    receipt = made.manifest.receipt
    changed = receipt["tokenizer"]["changed"]
    if changed:
        warn(f"the tokenizer does not give these lines back unchanged: {', '.join(map(repr, changed))}")

    judgement = receipt.get("judgement")
    if judgement is not None and not judgement["alike"]:
        warn("edgelm reads this source otherwise than transformers does: do not trust this model")
    if receipt["proof"]["verdict"] == "known to differ":
        warn(f"this network is {receipt['proof']['words']}")


def _rows(made: Converted) -> list[tuple[str, str]]:
    manifest, receipt = made.manifest, made.manifest.receipt
    tokenizer = receipt["tokenizer"]
    rows = [
        ("model", str(made.directory)),
        ("size", f"{_size(made)}, {manifest.bits_per_weight} bits per weight"),
        ("tensors", "; ".join(f"{count} {label}" for label, count in receipt["tensors"].items())),
    ]
    if manifest.recipe.get("quality"):
        rows.append(("quality", _quality(manifest.recipe["quality"], receipt)))
    if receipt["regrouped"]:
        rows.append(("smaller groups", _listed(receipt["regrouped"])))
    if receipt["left_unquantized"]:
        rows.append(("unquantized", _listed(receipt["left_unquantized"])))
    if receipt.get("dropped"):
        rows.append(("left out", _listed(receipt["dropped"])))
    rows += [("note", note) for note in receipt.get("notes", ())]
    rows += [
        ("tokenizer", f"{tokenizer['exact']} of {tokenizer['lines']} sample lines come back exactly"),
        *_against_source(receipt),
        *_judged(receipt),
        ("network", receipt["proof"]["words"]),
        (
            "cost",
            f"{format_seconds(receipt['elapsed_s'])}{_steps(receipt)},"
            f" peak memory {format_bytes(receipt['peak_memory_bytes'])}",
        ),
    ]
    return rows


def _steps(receipt: dict[str, Any]) -> str:
    """The steps that took a twentieth of the time or more."""
    whole = receipt["elapsed_s"]
    long = {name: took for name, took in receipt.get("steps_s", {}).items() if took >= whole / 20}
    return f" ({', '.join(f'{name} {format_seconds(took)}' for name, took in long.items())})" if long else ""


def _sizes(made: Converted) -> tuple[int, int]:
    """The bytes of all files, as `edgelm models` lists them, and of the weights among them."""
    from edgelm.library.models import files_of

    sizes = {path: path.stat().st_size for path in files_of(made.directory)}
    return sum(sizes.values()), sum(size for path, size in sizes.items() if path.suffix == ".safetensors")


def _size(made: Converted) -> str:
    size_bytes, weights_bytes = _sizes(made)
    return f"{format_bytes(size_bytes)}, of which weights {format_bytes(weights_bytes)}"


def _quality(quality: str, receipt: dict[str, Any]) -> str:
    """How codes were chosen, and why not by the default; modules that calibration text did not reach are named."""
    calibration = receipt["calibration"]
    if calibration is None:
        return f"{quality}: {receipt['rounded_because']}" if receipt["rounded_because"] else quality
    text = f"{quality}, {count(calibration['tokens'], 'token')} of {calibration['source']} text"
    unseen = [module["path"] for module in calibration["modules"] if module["method"] == "search"]
    return f"{text}; not reached by it: {', '.join(unseen[:6])}" if unseen else text


def _against_source(receipt: dict[str, Any]) -> list[tuple[str, str]]:
    """What was lost: measured on held-out text, or only compared on a short one."""
    from edgelm.evaluate.receipt import quality_of

    quality = quality_of(receipt)
    if quality is not None:
        return loss_rows(quality)
    found = receipt["comparison"]
    if found is None:
        return [("against source", f"not compared ({receipt['skipped']})")]
    says = (
        f"mean KL {found['mean_kl']:.2g} nats, same first choice on {found['top1_agreement']:.1%}"
        f" of {count(found['tokens'], 'token')}, as edgelm reads both"
    )
    return [("against source", says)]


def _judged(receipt: dict[str, Any]) -> list[tuple[str, str]]:
    """What transformers computes, where it was asked: of the source as edgelm reads it, then of the result."""
    found = receipt.get("judgement")
    if found is None:
        return []
    return [
        (
            f"transformers {found['transformers']}",
            f"edgelm's reading of the source {_apart(found['source'])} from its own on {count(found['tokens'], 'token')};"
            f" the result {_apart(found['result'])}",
        )
    ]


def _apart(found: dict[str, Any]) -> str:
    return (
        f"is mean KL {found['mean_kl']:.2g} nats away, at most {found['max_relative']:.1g} of the largest logit,"
        f" same first choice on {found['top1_agreement']:.1%}"
    )


def _listed(layers: dict[str, int]) -> str:
    names = [f"{path} ({size})" for path, size in layers.items()]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
