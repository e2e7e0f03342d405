"""The response itself: what was asked, under way and at its end."""

from __future__ import annotations

import time
from typing import Any

from edgelm.runtime.events import Usage
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.server.exchange.parts import AnswerEnd
from edgelm.server.openai.responses.output import Item, new_id
from edgelm.server.openai.responses.response_request import ResponseRequest
from edgelm.server.openai.responses.toolbox import FunctionDefinition, HostedDefinition

Response = dict[str, Any]


def begun_response(asked: ResponseRequest, model: str, options: GenerationOptions) -> Response:
    """Return a response that has begun, with the settings that it is made under."""
    sampling = options.sampling
    reasoning = asked.reasoning
    form = asked.text.format if asked.text else None
    return {
        "id": new_id("response"),
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "max_tool_calls": None,
        "metadata": asked.metadata or {},
        "model": model,
        "output": [],
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "previous_response_id": asked.previous_response_id,
        "prompt_cache_key": asked.prompt_cache_key,
        "reasoning": {
            "effort": reasoning.effort if reasoning else None,
            "summary": (reasoning.summary or reasoning.generate_summary) if reasoning else None,
        },
        "safety_identifier": asked.safety_identifier,
        "service_tier": "default",
        "store": asked.store is not False,
        "temperature": sampling.temperature,
        "text": {
            "format": form.model_dump(exclude_none=True, by_alias=True) if form else {"type": "text"},
            "verbosity": (asked.text.verbosity if asked.text else None) or "medium",
        },
        "tool_choice": _plain(asked.tool_choice) or "auto",
        "tools": [
            _told(tool)
            for tool in asked.tools or ()
            if not (isinstance(tool, HostedDefinition) and tool.is_idle)
        ],
        "top_logprobs": asked.top_logprobs or 0,
        "top_p": sampling.top_p,
        "truncation": asked.truncation or "disabled",
        "usage": None,
        "user": asked.user,
    }


def ended_response(begun: Response, output: list[Item], end: AnswerEnd) -> Response:
    """Return the response at its end."""
    is_cut = end.reason == "length"
    return {
        **begun,
        "status": "incomplete" if is_cut else "completed",
        "completed_at": None if is_cut else int(time.time()),
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "output": output,
        "usage": response_usage(end.usage),
    }


def failed_response(begun: Response, output: list[Item], message: str) -> Response:
    """Return the response where something broke on the way."""
    return {
        **begun,
        "status": "failed",
        "error": {"code": "server_error", "message": message},
        "output": [item for item in output if item["status"] != "in_progress"],
    }


def response_usage(usage: Usage) -> dict[str, Any]:
    """Return what it took. Everything that is computed of a prompt is kept."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.prompt_tokens - usage.cached_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.thinking_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _plain(choice: Any) -> Any:
    return choice.model_dump(exclude_none=True) if hasattr(choice, "model_dump") else choice


def _told(tool: Any) -> dict[str, Any]:
    told: dict[str, Any] = tool.model_dump(exclude_none=True)
    if isinstance(tool, FunctionDefinition):
        told = {"parameters": None, "strict": False, **told}
    return told
