"""Chats whose trained text is labelled by hand, family by family."""

from __future__ import annotations

from typing import Any

_CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}

TOOLS: list[dict[str, Any]] = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]

CHATS: dict[str, list[dict[str, Any]]] = {
    "single-turn": [
        {"role": "user", "content": "Capital of France?"},
        {"role": "assistant", "content": "Paris."},
    ],
    "multi-turn": [
        {"role": "user", "content": "Capital of France?"},
        {"role": "assistant", "content": "Paris."},
        {"role": "user", "content": "And Norway?"},
        {"role": "assistant", "content": "It is Oslo."},
    ],
    "tool": [
        {"role": "user", "content": "Weather in Oslo?"},
        {"role": "assistant", "content": "", "tool_calls": [_CALL]},
        {"role": "tool", "content": "rain"},
        {"role": "assistant", "content": "It rains."},
    ],
    "thinking": [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "4", "reasoning_content": "Two and two."},
    ],
}

_TEMPLATE_REFUSES = "refused"

LABELS: dict[str, dict[str, tuple[list[str], int] | str]] = {
    "chatml": {
        "single-turn": (["Paris.<|im_end|>"], 7),
        "multi-turn": (["Paris.<|im_end|>", "It is Oslo.<|im_end|>"], 19),
        "tool": (
            [
                '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call><|im_end|>',
                "It rains.<|im_end|>",
            ],
            65,
        ),
        "thinking": (["<think>\nTwo and two.\n</think>\n\n4<|im_end|>"], 20),
    },
    "llama3": {
        "single-turn": (["Paris.<|eot_id|>"], 7),
        "multi-turn": (["Paris.<|eot_id|>", "It is Oslo.<|eot_id|>"], 19),
        "tool": (
            ['{"name": "weather", "parameters": {"city": "Oslo"}}<|eot_id|>', "It rains.<|eot_id|>"],
            62,
        ),
        "thinking": (["4<|eot_id|>"], 2),
    },
    "gemma": {
        "single-turn": (["Paris.<end_of_turn>"], 7),
        "multi-turn": (["Paris.<end_of_turn>", "It is Oslo.<end_of_turn>"], 19),
        "tool": _TEMPLATE_REFUSES,
        "thinking": (["4<end_of_turn>"], 2),
    },
    "mistral": {
        "single-turn": ([" Paris.</s>"], 8),
        "multi-turn": ([" Paris.</s>", " It is Oslo.</s>"], 21),
        "tool": (
            ['[TOOL_CALLS] {"name": "weather", "arguments": {"city": "Oslo"}}</s>', " It rains.</s>"],
            64,
        ),
        "thinking": ([" 4</s>"], 3),
    },
    "phi3": {
        "single-turn": (["Paris.<|end|>"], 7),
        "multi-turn": (["Paris.<|end|>", "It is Oslo.<|end|>"], 19),
        "tool": (["<|end|>", "It rains.<|end|>"], 11),
        "thinking": (["4<|end|>"], 2),
    },
    "deepseek": {
        "single-turn": (["Paris.<｜end▁of▁sentence｜>"], 7),
        "multi-turn": (["Paris.<｜end▁of▁sentence｜>", "It is Oslo.<｜end▁of▁sentence｜>"], 19),
        "tool": (
            [
                '<｜tool▁calls▁begin｜>weather\n{"city": "Oslo"}<｜tool▁calls▁end｜><｜end▁of▁sentence｜>',
                "It rains.<｜end▁of▁sentence｜>",
            ],
            37,
        ),
        "thinking": (["4<｜end▁of▁sentence｜>"], 2),
    },
}
"""Family → chat → the trained stretches of text and their tokens, counted by hand, or "refused"."""

LEFT_OUT = {
    "llama3": {"thinking"},
    "gemma": {"thinking"},
    "mistral": {"thinking"},
    "phi3": {"thinking", "tool"},
    "deepseek": {"thinking"},
}
"""Family → chats of which its template leaves something out, which is said."""
