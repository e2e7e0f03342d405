"""`edgelm models`: what is installed, and how to get more or less of it."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.cli.managing import add_managing
from edgelm.cli.parsing.actions import add_action, add_force, add_json, check_file
from edgelm.cli.show.facts import fact_lines, is_piped, labelled
from edgelm.cli.show.lineage_lines import print_lineage
from edgelm.cli.show.output import console, print_json, say
from edgelm.cli.show.progress_bars import progress_bars
from edgelm.errors import NotFoundError
from edgelm.units import count, format_bytes

if TYPE_CHECKING:
    from edgelm.library.manifest import Manifest
    from edgelm.library.models import Installed

EXAMPLES = (
    "edgelm models",
    "edgelm models pull mlx-community/Qwen3-0.6B-4bit",
    "edgelm models rename old new",
)

_UNQUANTIZED_BITS = 12
"""Above this many bits per weight a model was published as it was trained."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    add_json(parser)
    parser.set_defaults(action=_list)
    actions = parser.add_subparsers(metavar="ACTION", title="actions", description="without one, list")
    add_action(actions, "list", "the models of the library", _list, aliases=("ls",))
    info = add_action(actions, "info", "everything known about one model", _info)
    info.add_argument("model", metavar="MODEL", help="a name from the library, or a path")
    info.add_argument("--svg", metavar="FILE", help="draw what each layer lost and its bits (.svg or .png)")
    add_force(info)
    pull = add_action(actions, "pull", "download a model that needs no converting", _pull)
    pull.add_argument("id", metavar="ID", help="a Hub id, as mlx-community/Qwen3-0.6B-4bit")
    pull.add_argument("--revision", help="a branch, tag or commit (default: the newest)")
    pull.add_argument(
        "--name",
        help="what to call it here (default: the last part of ID, in lower case; all of it if that is taken)",
    )
    add_managing(actions, "model")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    arguments.action(arguments)


def _list(arguments: argparse.Namespace) -> None:
    from edgelm.library.models import installed

    models = installed()
    if arguments.json:
        print_json(models)
    elif models:
        _print_table(models)
    else:
        say("no model is installed; for a small one: edgelm convert smollm2")


def _print_table(models: list[Installed]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("name", no_wrap=True)
    for heading in ("size", "bits"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("architecture", "licence", "source"):
        table.add_column(heading)
    for model in models:
        last = model.problem if model.problem else model.source or ""
        cells = (
            model.name,
            format_bytes(model.size_bytes),
            _bits(model),
            model.model_type,
            model.licence,
            last,
        )
        table.add_row(*(Text(cell or "") for cell in cells))
    console().print(table)


def _bits(model: Installed) -> str:
    return "" if model.bits_per_weight is None else f"{model.bits_per_weight:.3g}"


def _info(arguments: argparse.Namespace) -> None:
    from edgelm.errors import FormatError
    from edgelm.library.lineage import licences, lineage
    from edgelm.library.manifest import Manifest
    from edgelm.library.models import describe, files_of, resolve
    from edgelm.zoo.configs.normalise import read_config
    from edgelm.zoo.proofs.verdict import proof_of

    directory = resolve(arguments.model)
    model = describe(directory)
    if model.problem:
        raise FormatError(
            model.problem, hint=f"remove it with: edgelm models remove {shlex.quote(model.name)}"
        )
    manifest = Manifest.read(directory)
    if arguments.svg:
        check_file(arguments.svg, arguments)
        _draw(model, manifest, arguments.svg)
    sizes = {path.relative_to(directory).as_posix(): path.stat().st_size for path in files_of(directory)}
    tree = lineage(directory)
    proof = proof_of(read_config(directory))
    if arguments.json:
        print_json({**_info_json(model, manifest, sizes), "proof": proof.as_json(), "lineage": tree})
        return
    for line in _info_lines(model, manifest, sizes, proof.words):
        print(line)
    print_lineage(tree)
    if len(licences(tree)) > 1:
        along = ", ".join(licences(tree))
        print(f"licences\t{along}" if is_piped() else f"  licences along it: {along}")


def _draw(model: Installed, manifest: Manifest | None, file: str) -> None:
    from edgelm.cli.show.layer_chart import plot_layers
    from edgelm.evaluate.receipt import quality_of

    quality = quality_of(manifest.receipt) if manifest else None
    if quality is None:
        raise NotFoundError(
            f"{model.name} was made without measuring what it lost",
            hint="edgelm convert --quality measures it",
        )
    title = f"{model.name}, {quality.method}, {quality.bits_per_weight:.3g} bits per weight"
    plot_layers(Path(file), quality, title=title)


def _info_json(model: Installed, manifest: Manifest | None, sizes: dict[str, int]) -> dict[str, Any]:
    import dataclasses

    said = dataclasses.asdict(manifest) if manifest else {}
    facts = {**said, **dataclasses.asdict(model)}
    return {**facts, "weights_bytes": weights_bytes(sizes), "files": sizes}


def _info_lines(
    model: Installed, manifest: Manifest | None, sizes: dict[str, int], proof: str
) -> Iterator[str]:
    facts: dict[str, Any] = {
        "name": model.name,
        "directory": model.directory,
        "size": f"{format_bytes(model.size_bytes)}, of which weights {format_bytes(weights_bytes(sizes))}",
        "bits per weight": model.bits_per_weight,
        "architecture": model.model_type,
        "network": proof,
        "context length": model.context_length and f"{count(model.context_length, 'token')}",
    }
    facts["licence"] = model.licence
    if manifest:
        facts |= {
            "source": manifest.source,
            "revision": manifest.revision,
            "created": manifest.created,
            "recipe": manifest.recipe,
            "parents": ", ".join(str(parent.get("source")) for parent in manifest.parents),
            "receipt": _brief({key: value for key, value in manifest.receipt.items() if key != "quality"}),
            "quality": _quality(manifest),
        }
    yield from fact_lines(facts)
    if is_piped():
        yield from labelled([("file", f"{name}, {format_bytes(size)}") for name, size in sizes.items()])
        return
    yield "files"
    for name, size_bytes in sizes.items():
        yield f"  {format_bytes(size_bytes):>8}  {name}"


def weights_bytes(sizes: Mapping[str, int]) -> int:
    """Add up the bytes of the weight files among all files of a model."""
    return sum(size for name, size in sizes.items() if name.endswith(".safetensors"))


def _brief(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is shown on its own, and what `--json` and `--svg` are for: hundreds of modules."""
    brief = {key: value for key, value in receipt.items() if key != "quality"}
    if isinstance(brief.get("calibration"), Mapping):
        brief["calibration"] = {k: v for k, v in brief["calibration"].items() if k != "modules"}
    return brief


def _quality(manifest: Manifest) -> dict[str, str]:
    from edgelm.cli.show.quality_rows import receipt_rows
    from edgelm.evaluate.receipt import quality_of

    quality = quality_of(manifest.receipt)
    return dict(receipt_rows(quality)) if quality else {}


def _pull(arguments: argparse.Namespace) -> None:
    from edgelm.library.models import pull

    with progress_bars() as on_progress:
        model = pull(arguments.id, revision=arguments.revision, name=arguments.name, on_progress=on_progress)
    if arguments.json:
        print_json(model)
    else:
        _say_pulled(model)


def _say_pulled(model: Installed) -> None:
    bits = f", {_bits(model)} bits per weight" if model.bits_per_weight else ""
    print(f"{model.name} ({format_bytes(model.size_bytes)}{bits})")
    if (model.bits_per_weight or 0) > _UNQUANTIZED_BITS:
        say(f"it is not quantized: edgelm convert {shlex.quote(model.name)} makes a smaller and faster copy")
