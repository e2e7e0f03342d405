"""How each coding agent is told where its models are: by its documented environment and arguments, never by a file of its user.

| agent | source |
|---|---|
| claude | https://code.claude.com/docs/en/env-vars, …/llm-gateway |
| codex | https://developers.openai.com/codex/config-advanced (model_providers, -c), …/config-reference (web_search) |
| opencode | https://opencode.ai/docs/config (OPENCODE_CONFIG_CONTENT), …/docs/providers (OpenAI-compatible) |
| aider | https://aider.chat/docs/llms/openai-compat.html |
| goose | https://goose-docs.ai/docs/guides/environment-variables |
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

NO_KEY = "edgelm"
"""What is sent where no key is asked for: agents refuse to begin without one."""

KEY_OF_CODEX = "EDGELM_AGENT_KEY"


@dataclass(frozen=True)
class ModelAddress:
    """Where an agent finds its model.

    Attributes:
        address: of the server, without a path.
        key: what it asks for, or `NO_KEY`.
        model: the name of the model.
    """

    address: str
    key: str
    model: str

    @property
    def openai(self) -> str:
        """The address of OpenAI's API."""
        return f"{self.address}/v1"


@dataclass(frozen=True)
class AgentCall:
    """What an agent is called with.

    Attributes:
        environment: variables that are set.
        arguments: what stands before its user's own arguments.
    """

    environment: dict[str, str]
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Agent:
    """A coding agent.

    Attributes:
        program: what it is called on the command line.
        title: its own name.
        install: the documented way to install it.
        call: what points it at an endpoint.
    """

    program: str
    title: str
    install: str
    call: Callable[[ModelAddress], AgentCall]


def _claude(to: ModelAddress) -> AgentCall:
    """Return Claude Code's call: every tier of models, the small one for titles too, is the one model there is."""
    tiers = ("OPUS", "SONNET", "HAIKU")
    return AgentCall(
        {
            "ANTHROPIC_BASE_URL": to.address,
            "ANTHROPIC_AUTH_TOKEN": to.key,
            # A key of the user's own would be sent to this server as well, and be asked about.
            "ANTHROPIC_API_KEY": "",
            "ANTHROPIC_MODEL": to.model,
            **{f"ANTHROPIC_DEFAULT_{tier}_MODEL": to.model for tier in tiers},
            # What versions before 2 call the small model.
            "ANTHROPIC_SMALL_FAST_MODEL": to.model,
            "CLAUDE_CODE_SUBAGENT_MODEL": to.model,
            # A line that differs in every request would make every prompt a new one for the cache.
            "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }
    )


def _codex(to: ModelAddress) -> AgentCall:
    settings = {
        "model_provider": "edgelm",
        "model_providers.edgelm.name": "edgelm",
        "model_providers.edgelm.base_url": to.openai,
        "model_providers.edgelm.wire_api": "responses",
        "model_providers.edgelm.env_key": KEY_OF_CODEX,
        # OpenAI runs that tool; Codex offers it to every provider unless it is told not to.
        "web_search": "disabled",
    }
    # Values are TOML; a string of JSON is one.
    flags = [word for name, value in settings.items() for word in ("-c", f"{name}={json.dumps(value)}")]
    return AgentCall({KEY_OF_CODEX: to.key}, (*flags, "-m", to.model))


def _opencode(to: ModelAddress) -> AgentCall:
    config = {
        "$schema": "https://opencode.ai/config.json",
        "model": f"edgelm/{to.model}",
        "small_model": f"edgelm/{to.model}",
        "provider": {
            "edgelm": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "edgelm",
                "options": {"baseURL": to.openai, "apiKey": to.key},
                "models": {to.model: {"name": to.model}},
            }
        },
    }
    return AgentCall({"OPENCODE_CONFIG_CONTENT": json.dumps(config, separators=(",", ":"))})


def _aider(to: ModelAddress) -> AgentCall:
    model = f"openai/{to.model}"
    return AgentCall(
        {"OPENAI_API_BASE": to.openai, "OPENAI_API_KEY": to.key},
        ("--model", model, "--weak-model", model, "--no-show-model-warnings"),
    )


def _goose(to: ModelAddress) -> AgentCall:
    return AgentCall(
        {
            "GOOSE_PROVIDER": "openai",
            "GOOSE_MODEL": to.model,
            "OPENAI_HOST": to.address,
            "OPENAI_BASE_PATH": "v1/chat/completions",
            "OPENAI_API_KEY": to.key,
        }
    )


AGENTS = (
    Agent("claude", "Claude Code", "npm install -g @anthropic-ai/claude-code", _claude),
    Agent("codex", "Codex", "npm install -g @openai/codex", _codex),
    Agent("opencode", "OpenCode", "npm install -g opencode-ai", _opencode),
    Agent("aider", "Aider", "python -m pip install aider-install && aider-install", _aider),
    Agent("goose", "goose", "brew install block-goose-cli", _goose),
)
