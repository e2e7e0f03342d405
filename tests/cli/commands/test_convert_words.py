"""What `edgelm convert` says of the network itself: by the table, and by transformers where it was asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkpoints import write_checkpoint

from edgelm.cli.commands import convert as command
from edgelm.cli.main import main
from edgelm.zoo.proofs import verdict


def flags(tmp_path: Path, *more: str) -> list[str]:
    return ["convert", str(tmp_path / "source"), "-o", str(tmp_path / "made"), "--mode", "none", *more]


def test_the_comparison_says_whose_reading_it_is_and_the_table_what_is_proved(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(tmp_path / "source", "llama")
    assert main(flags(tmp_path)) == 0
    said = dict(line.split("\t", 1) for line in capsys.readouterr().out.splitlines())
    assert said["against source"].endswith("as edgelm reads both")
    assert said["network"].startswith("proved equal to transformers")
    receipt = json.loads((tmp_path / "made" / "edgelm.json").read_text())["receipt"]
    assert receipt["proof"] == {"verdict": "proved equal", "words": said["network"]}
    assert "mlx-lm" in receipt["compared"]
    assert receipt["judgement"] is None


def test_a_known_difference_is_a_warning(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path / "source", "llama")
    differing = verdict.Proof(
        "known to differ", "known to differ from transformers by 0.3 of the largest logit"
    )
    monkeypatch.setattr("edgelm_converters.result.report.proof_of", lambda config: differing)
    assert main(flags(tmp_path)) == 0
    said = capsys.readouterr()
    assert "this network is known to differ from transformers by 0.3" in said.err
    assert "network\tknown to differ" in said.out


def test_transformers_is_a_row_of_its_own_and_a_warning_where_it_reads_otherwise() -> None:
    apart = {"mean_kl": 0.25, "max_relative": 0.4, "top1_agreement": 0.5}
    ((label, words),) = command._judged(
        {
            "judgement": {
                "transformers": "5.24.0",
                "tokens": 93,
                "source": apart,
                "result": apart,
                "alike": False,
            }
        }
    )
    assert label == "transformers 5.24.0"
    assert words.startswith(
        "edgelm's reading of the source is mean KL 0.25 nats away, at most 0.4 of the largest logit"
    )
    assert "on 93 tokens; the result is mean KL" in words
