"""GRPO raises a verifiable reward on SmolLM2: answers that are one sentence of at most 12 words.

    python tests/benchmarks/runs/verifiable_reward.py

The reward is a regular expression and nothing else, so an answer has 1 or 0. Printed: how many answers to questions about other
topics match it, before and after.
"""

from __future__ import annotations

import json
import re

from smollm2 import Report, answers, arguments, prepare, questions

import edgelm

FORM = "In one short sentence, what is {}?"
PATTERN = r"\A(?:[^\s.!?]+ ){2,11}[^\s.!?]+\.\Z"
TOKENS = 24
STEPS = 12


def matches(text: str) -> bool:
    return re.search(PATTERN, text) is not None


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--steps", type=int, default=STEPS)
    chosen = parser.parse_args()
    report = Report()
    model = prepare(chosen.folder, chosen.model)
    learnt, held_out = questions(FORM)
    asked = held_out * 8  # eight draws of each
    report.rate("before", answers(model, asked, tokens=TOKENS, first_seed=1000), matches)
    data = chosen.folder / "questions.jsonl"
    data.write_text("".join(json.dumps({"prompt": question}) + "\n" for question in learnt))
    result = edgelm.tune(
        model, data, loss="grpo", reward=[f"regex:{PATTERN}"], rollout_tokens=TOKENS, learning_rate=5e-4, layers="-10",
        prompts_per_step=3, steps=chosen.steps, schedule="constant", validate_every=chosen.steps, answer_tokens=0,
        on_event=report.events,
    )  # fmt: skip
    report.rate(
        "after", answers(model, asked, adapter=result.adapter, tokens=TOKENS, first_seed=1000), matches
    )


if __name__ == "__main__":
    main()
