"""`edgelm adapters`: what was trained, built into models, merged, and exchanged with PEFT."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.atomic import refuse_existing
from edgelm.cli.managing import add_managing
from edgelm.cli.parsing.actions import add_action, add_json
from edgelm.cli.parsing.model_flags import add_model, add_place, found_model
from edgelm.cli.show.facts import fact_lines, labelled
from edgelm.cli.show.lineage_lines import print_lineage
from edgelm.cli.show.output import console, print_json, say
from edgelm.cli.show.progress_bars import progress_bars
from edgelm.errors import EdgeLMError
from edgelm.units import format_bytes

if TYPE_CHECKING:
    from edgelm.adapters.files import Adapter

EXAMPLES = (
    "edgelm adapters",
    "edgelm adapters fuse MODEL style --name my-model",
    "edgelm adapters export style -o style-peft",
)

_WEIGHTED = "a name from the library of adapters or a path; with =WEIGHT, how strongly it acts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    add_json(parser)
    parser.set_defaults(action=_list)
    actions = parser.add_subparsers(metavar="ACTION", title="actions", description="without one, list")
    add_action(actions, "list", "the library of adapters", _list, aliases=("ls",))
    info = add_action(actions, "info", "everything known about one adapter, and what it was built on", _info)
    info.add_argument("adapter", metavar="ADAPTER", help="a name from the library of adapters, or a path")
    add_managing(actions, "adapter")
    _add_fuse(actions)
    _add_merge(actions)
    take = add_action(actions, "import", "make an adapter of a PEFT one", _import)
    take.add_argument("source", type=Path, metavar="DIR", help="where PEFT saved it")
    take.add_argument(
        "--model", required=True, metavar="MODEL", help="the model it was trained on, as it is here"
    )
    add_place(take, "the library of adapters", "the directory")
    give = add_action(actions, "export", "write an adapter as PEFT does", _export)
    give.add_argument("adapter", metavar="ADAPTER", help="a name from the library of adapters, or a path")
    give.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the directory to make")
    give.add_argument("--model", metavar="MODEL", help="its base, where that is not where it was")


def _add_fuse(actions: Any) -> None:
    fuse = add_action(actions, "fuse", "build adapters into their base, and say what that loses", _fuse)
    add_model(fuse)
    fuse.add_argument("adapters", metavar="ADAPTER", nargs="+", help=_WEIGHTED)
    add_place(fuse, "the library of models", "model and adapters")
    fuse.add_argument(
        "--dequantize", action="store_true", help="leave adapted layers unquantized: larger, nothing is lost"
    )
    fuse.add_argument("--force", action="store_true", help="write it however much is lost")
    fuse.add_argument("--no-check", action="store_true", help="do not measure what is lost")
    fuse.add_argument("--tokens", type=int, metavar="N", help="of held-out text to measure on (default 2048)")


def _add_merge(actions: Any) -> None:
    from edgelm.adapters.merge_settings import MergeSettings

    merge = add_action(actions, "merge", "make one adapter of several of the same base", _merge)
    merge.add_argument("adapters", metavar="ADAPTER", nargs="+", help=_WEIGHTED)
    add_place(merge, "the library of adapters", "adapters and method")
    MergeSettings.add_flags(merge)


def run(arguments: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        NotFoundError, FormatError, UnsupportedError: an adapter or model that is not there, broken, or another's.
        OutputError: the output exists, or the disk refuses.
    """
    arguments.action(arguments)


def _list(arguments: argparse.Namespace) -> None:
    from edgelm import paths
    from edgelm.adapters.files import read_adapter

    found, broken = [], []
    for directory in sorted(paths.adapters().iterdir()) if paths.adapters().is_dir() else ():
        if directory.name.startswith("."):
            continue
        try:
            found.append(_facts(read_adapter(directory)))
        except EdgeLMError as error:
            broken.append({"name": directory.name, "problem": error.message})
    if arguments.json:
        print_json([*found, *broken])
    elif found or broken:
        _print_table(found, broken)
    else:
        say("no adapter yet: edgelm tune MODEL --data FILE makes one")


def _facts(adapter: Adapter) -> dict[str, Any]:
    from edgelm.library.manifest import Manifest

    manifest = Manifest.read(adapter.directory)
    config = adapter.config
    return {
        "name": adapter.name,
        "method": config.method,
        "task": config.task or "answers",
        "rank": config.rank,
        "scale": config.scale,
        "modules": len(adapter.modules),
        "base": Path(config.base).name if config.base else None,
        "base_sha256": config.base_sha256,
        "size_bytes": sum(value.nbytes for value in adapter.tensors.values()),
        "created": manifest.created if manifest else None,
        "licence": manifest.licence if manifest else None,
        "receipt": manifest.receipt if manifest else {},
    }


def _print_table(found: list[dict[str, Any]], broken: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "name", "method", "task", "rank", "base", "size", box=None, pad_edge=False, header_style="bold"
    )
    for facts in found:
        cells = (
            facts["name"],
            facts["method"],
            facts["task"],
            str(facts["rank"]),
            facts["base"] or "not known",
        )
        table.add_row(*map(Text, cells), Text(format_bytes(facts["size_bytes"])))
    for facts in broken:
        table.add_row(Text(facts["name"]), Text(facts["problem"]))
    console().print(table)


def _info(arguments: argparse.Namespace) -> None:
    from edgelm.adapters.files import read_adapter
    from edgelm.adapters.find import find_adapter
    from edgelm.library.lineage import lineage

    adapter = read_adapter(find_adapter(arguments.adapter))
    facts, tree = _facts(adapter), lineage(adapter.directory)
    if arguments.json:
        print_json({**facts, "lineage": tree})
        return
    size = format_bytes(facts.pop("size_bytes"))
    for line in fact_lines(
        {**{key: value for key, value in facts.items() if key != "receipt"}, "size": size}
    ):
        print(line)
    for line in fact_lines({"receipt": facts["receipt"]}):
        print(line)
    print_lineage(tree)


def _fuse(arguments: argparse.Namespace) -> None:
    from edgelm import paths
    from edgelm.adapters.find import find_uses
    from edgelm.adapters.fuse import fuse
    from edgelm.evaluate.fusing import FusedMeasure
    from edgelm.evaluate.rows import Measuring

    model = found_model(arguments.model)
    uses = find_uses(arguments.adapters, model)
    target = _target(
        arguments, paths.models(), "-".join([model.absolute().name, *(use.name for use in uses)])
    )
    measuring = Measuring(tokens=2048 if arguments.tokens is None else arguments.tokens)
    with progress_bars() as on_progress:
        report = fuse(
            model,
            uses,
            target,
            measure=None if arguments.no_check else FusedMeasure(measuring, on_progress),
            keep_dense=arguments.dequantize,
            force=arguments.force,
        )
    if arguments.json:
        print_json(report)
        return
    facts: dict[str, object] = {"model": report.directory}
    if report.learnt_kl is not None and report.lost_kl is not None:
        facts["KL before"] = f"{report.learnt_kl:.4g} nats: base against base and adapter, what was learnt"
        facts["KL after"] = f"{report.lost_kl:.4g} nats: fused against base and adapter, what fusing lost"
    for line in labelled(facts):
        print(line)


def _target(arguments: argparse.Namespace, library: Path, default: str) -> Path:
    """Return the folder that a result goes to, and refuse one that is there already."""
    from edgelm.library.names import place

    target = place(library, name=arguments.name, output=arguments.output, default=default)
    refuse_existing(target, hint="remove it, or give another --name or --output")
    return target


def _merge(arguments: argparse.Namespace) -> None:
    from edgelm import paths
    from edgelm.adapters.base import check_writes
    from edgelm.adapters.files import read_adapter
    from edgelm.adapters.find import parse_use
    from edgelm.adapters.merge import merge
    from edgelm.adapters.merge_settings import MergeSettings

    uses = [parse_use(text) for text in arguments.adapters]
    pairs = [(read_adapter(use.directory), use.weight) for use in uses]
    for adapter, _ in pairs:
        check_writes(adapter)
    settings = MergeSettings.from_flags(arguments)
    target = _target(arguments, paths.adapters(), "-".join([*(use.name for use in uses), settings.method]))
    report = merge(pairs, target, settings)
    if arguments.json:
        print_json(report)
        return
    rank = f"{report.rank}, which leaves out {report.left_out:.2%} of the merged change"
    for line in labelled({"adapter": report.directory, "rank": rank}):
        print(line)


def _import(arguments: argparse.Namespace) -> None:
    from edgelm import paths
    from edgelm.adapters.base import describe_base
    from edgelm.adapters.peft import import_peft
    from edgelm.library.models import default_name
    from edgelm.model.load import load_tokenizer
    from edgelm.text.template_identity import template_identity
    from edgelm.zoo.configs.normalise import normalise_config, read_config

    target = _target(arguments, paths.adapters(), default_name(arguments.source.absolute().name))
    model = found_model(arguments.model)
    config = normalise_config(read_config(model))
    made = import_peft(
        arguments.source,
        target,
        model,
        describe_base(model),
        template_sha256=template_identity(load_tokenizer(model, config)),
    )
    print_json({"adapter": made}) if arguments.json else print(*labelled({"adapter": made}))


def _export(arguments: argparse.Namespace) -> None:
    from edgelm.adapters.base import check_weights
    from edgelm.adapters.files import read_adapter
    from edgelm.adapters.find import find_adapter
    from edgelm.adapters.peft import export_peft

    refuse_existing(arguments.output)
    adapter = read_adapter(find_adapter(arguments.adapter))
    model = found_model(arguments.model or adapter.config.base or "")
    check_weights(adapter, model)
    made = export_peft(adapter, arguments.output, model)
    print_json({"adapter": made}) if arguments.json else print(*labelled({"adapter": made}))
