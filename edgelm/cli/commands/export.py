"""`edgelm export MODEL`: a model as a GGUF file for llama.cpp and what is built on it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edgelm.cli.show.output import print_json, say
from edgelm.cli.show.progress_bars import progress_bars
from edgelm.cli.show.two_columns import print_two_columns
from edgelm.units import count, format_bytes

if TYPE_CHECKING:
    from edgelm_converters.exports.report import Exported

EXAMPLES = (
    "edgelm export my-model --gguf my-model.gguf",
    "edgelm export HuggingFaceTB/SmolLM2-135M-Instruct --gguf smollm2.gguf --type q8_0",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    from edgelm_converters.exports.types import CHOICES

    parser.add_argument(
        "model", metavar="MODEL", help="a model of the library, a path, an installed package or a Hub id"
    )
    parser.add_argument("--gguf", metavar="FILE", required=True, help="the GGUF file to make")
    parser.add_argument(
        "--type",
        default="auto",
        metavar="TYPE",
        help="of matrices: auto keeps what the model has, packed weights bit for bit where ggml has their form; or "
        + ", ".join(CHOICES[1:]),
    )
    parser.add_argument(
        "--split", type=float, metavar="GB", help="the most that tensors take in a file; more files then"
    )
    parser.add_argument(
        "--no-verify", action="store_true", help="do not read the file back to compare its logits"
    )
    parser.add_argument("--revision", help="a Hub branch, tag or commit (default: the newest)")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON on stdout")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from edgelm_converters.exports.gguf import export_gguf

    with progress_bars() as on_progress:
        exported = export_gguf(
            arguments.model,
            arguments.gguf,
            tensor_type=arguments.type,
            split_bytes=int(arguments.split * 1e9) if arguments.split is not None else None,
            verify=not arguments.no_verify,
            revision=arguments.revision,
            on_progress=on_progress,
        )
    if arguments.json:
        print_json(
            {
                **vars(exported),
                "files": [str(path) for path in exported.files],
                "comparison": _facts(exported),
            }
        )
        return
    print_two_columns(_rows(exported))
    say("edgelm chat needs a conversion of it; llama.cpp, Ollama and LM Studio read it as it is")


def _facts(exported: Exported) -> dict[str, float] | None:
    return None if exported.comparison is None else vars(exported.comparison)


def _rows(exported: Exported) -> list[tuple[str, str]]:
    first = exported.files[0]
    more = f" and {len(exported.files) - 1} more" if len(exported.files) > 1 else ""
    rows = [
        ("file", f"{first}{more}"),
        ("size", f"{format_bytes(exported.size_bytes)}, {exported.bits_per_weight:.3g} bits per weight"),
        ("tensors", ", ".join(f"{number} {kind}" for kind, number in exported.types.items())),
    ]
    if exported.lost:
        name, worst = max(exported.lost.items(), key=lambda item: item[1])
        rows.append(
            (
                "changed",
                f"{count(len(exported.lost), 'tensor')}, the most {name}: {worst:.2g} of its mean square",
            )
        )
    else:
        rows.append(("changed", "no tensor: all values are what they were"))
    rows += [("note", note) for note in exported.notes]
    found = exported.comparison
    if found is not None:
        rows.append(
            (
                "against source",
                f"mean KL {found.mean_kl:.2g} nats on {count(found.tokens, 'token')}, read back as edgelm reads it",
            )
        )
    return rows
