"""The settings of a chat: system prompt, sampling, form of the answers, adapter.

    ChatSettings(system="Be brief.", temperature=0.2)

Whatever the runtime's `Sampling` knows can be set; what is not set is as the model recommends. Files and saved chats hold the
settings flat: `{"system": "Be brief.", "temperature": 0.2}`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from edgelm.errors import EdgeLMError, OptionError
from edgelm.options import Bounds, Options, option

AGAIN_TEMPERATURE = 0.8
"""The temperature of another answer, where the first was the likeliest."""
_READERS: dict[str, Callable[[str], Any]] = {
    "int": int, "float": float, "str": str, "bool": lambda text: text.lower() in ("true", "yes", "on"),
}  # fmt: skip


@dataclass(frozen=True, init=False)
class ChatSettings(Options):
    """The settings of one chat, or of new chats.

    Attributes:
        sampling: values of `Sampling` by name; the model recommends the others.

    Raises:
        OptionError: a setting that does not exist, or outside what it may be.
    """

    system: str = option("", "the system prompt")
    sampling: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int | None = option(
        None, "stop an answer after so many tokens; empty is 4,096, or more", ge=1
    )
    thinking: bool | None = option(None, "ask the model to think, or not to; empty leaves it to the model")
    schema: str = option("", "a JSON schema, or the path of one, that every answer obeys")
    adapter: str = option("", "the directory of an adapter")
    adapter_scale: float = option(1.0, "strength of the adapter", ge=0, le=2)

    def __init__(self, *, sampling: Mapping[str, Any] | None = None, **values: Any) -> None:
        """Take settings by name; those of `Sampling` may be named directly, None unsets one of them."""
        own = {item.name: item.default for item in dataclasses.fields(self) if item.name != "sampling"}
        drawn = {**(sampling or {}), **{name: values[name] for name in values if name not in own}}
        for name, default in own.items():
            object.__setattr__(self, name, values.get(name, default))
        object.__setattr__(self, "sampling", _checked_sampling(drawn))
        self.__post_init__()

    @classmethod
    def names(cls) -> list[str]:
        """List the names of all settings, as they are saved."""
        names = [item.name for item in dataclasses.fields(cls)]
        at = names.index("sampling")
        return [*names[:at], *_sampling_fields(), *names[at + 1 :]]

    @classmethod
    def bounds(cls, name: str) -> Bounds:
        """Return what a setting is for and what it may be."""
        fields = {**_sampling_fields(), **cls.__dataclass_fields__}
        bounds: Bounds = fields[name].metadata["bounds"]
        return bounds

    @classmethod
    def over(cls, base: Self, saved: Mapping[str, Any]) -> Self:
        """Return `base` with what a saved chat says; what it says wrongly is left out."""
        settings = base
        for name, value in saved.items():
            try:
                settings = dataclasses.replace(settings, **{name: value})
            except EdgeLMError:
                continue
        return settings

    def value(self, name: str) -> Any:
        """Return the value of a setting; None where the model recommends it."""
        return self.sampling.get(name) if name not in self.__dataclass_fields__ else getattr(self, name)

    def flat(self) -> dict[str, Any]:
        """Return the settings by name as plain JSON values, without those of the sampling that are not set."""
        own = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {**own.pop("sampling"), **own}

    def changes(self, base: ChatSettings) -> dict[str, Any]:
        """Return the settings that differ from those of `base` as plain JSON values; None for one that only `base` sets."""
        mine, theirs = self.flat(), base.flat()
        return {name: mine.get(name) for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)}

    def conditions(self) -> dict[str, Any]:
        """Return what an answer is made under, beside model and adapter; kept with it, to know which were made alike."""
        named = ("system", "thinking", "adapter")
        others = {name: value for name, value in self.changes(ChatSettings()).items() if name not in named}
        return {"system": self.system, "thinking": self.thinking, "settings": others}

    def with_text(self, name: str, text: str) -> Self:
        """Return a copy in which one setting is what a person typed; nothing typed unsets it.

        Raises:
            OptionError: there is no such setting, or it may not be that.
        """
        if name not in self.names():
            raise OptionError(f"there is no setting {name!r}, expected one of {', '.join(self.names())}")
        if not text.strip():
            default: Any = getattr(type(self), name, None)
            return dataclasses.replace(self, **{name: default})
        kind = str({**_sampling_fields(), **self.__dataclass_fields__}[name].type).partition(" |")[0]
        try:
            value = _READERS[kind](text.strip())
        except ValueError:
            raise OptionError(f"{name} is {text.strip()!r}, expected a number") from None
        return dataclasses.replace(self, **{name: value})

    def summary(self) -> str:
        """Say in a line what differs from what a model does of itself; "" where nothing does."""
        numbers = {**self.sampling, "max_tokens": self.max_tokens}
        scale = f" × {self.adapter_scale:g}" if self.adapter_scale != 1 else ""
        parts = [
            "system prompt" if self.system.strip() else "",
            "schema" if self.schema.strip() else "",
            f"adapter {Path(self.adapter).name}{scale}" if self.adapter else "",
            {None: "", True: "thinking", False: "no thinking"}[self.thinking],
            *(f"{name.replace('_', ' ')} {value:g}" for name, value in numbers.items() if value is not None),
        ]
        return " · ".join(part for part in parts if part)

    def again(self, times: int, *, is_greedy: bool) -> Self:
        """Return the settings of another answer to a prompt that was answered `times` times: drawn anew, and drawn at all.

        Args:
            is_greedy: whether the model takes the likeliest token where nothing is set; the answer would be the same.
        """
        temperature, top_k, seed = (self.sampling.get(name) for name in ("temperature", "top_k", "seed"))
        changed = {} if seed is None else {"seed": (seed + times) % 2**64}
        if top_k == 1 or (is_greedy if temperature is None else temperature == 0):
            changed |= {"temperature": AGAIN_TEMPERATURE, "top_k": 0 if top_k == 1 else top_k}
        return dataclasses.replace(self, **changed)

    def generation(self) -> dict[str, Any]:
        """Return what the runtime is told, by the names it uses: sampling and the length of the answer."""
        return {**self.sampling, **({"max_tokens": self.max_tokens} if self.max_tokens is not None else {})}


def _sampling_fields() -> dict[str, dataclasses.Field[Any]]:
    """The fields of `Sampling` that a person can set, by name."""
    # The runtime's package prepares the processor for MLX, which a program that shows chats need not wait for.
    from edgelm.runtime.sampling.settings import Sampling

    return {name: item for name, item in Sampling.__dataclass_fields__.items() if "bounds" in item.metadata}


def _checked_sampling(values: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: value for name, value in values.items() if value is not None}
    if not values:
        return {}
    from edgelm.runtime.sampling.settings import Sampling

    known = _sampling_fields()
    if unknown := values.keys() - known:
        raise OptionError(f"there is no setting {sorted(unknown)[0]!r}")
    Sampling(**values)
    return {name: values[name] for name in known if name in values}
