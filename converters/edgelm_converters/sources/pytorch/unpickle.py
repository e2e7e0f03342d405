"""A pickle reader that builds plain values, and through a table what the caller allows, and nothing else.

It is a stack machine of our own: Python's `pickle` never sees the bytes, nothing is imported, and a
name that is not in the table is refused before anything of it is looked up. Every opcode costs one
unit of a budget and makes at most one small object (or one slot for each value it takes off the stack),
so memory is bounded by `MAX_OPCODES`. Nothing here recurses, hashes a container or prints one: shared
and nested containers cost what they weigh. Knows nothing of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.errors import FormatError, UnsafeError
from edgelm_converters.sources.pytorch.opcodes import MalformedError, Window, read_opcodes

MAX_OPCODES = 1_000_000
"""About 30 a tensor; at most some 100 MB."""
MAX_KEY = 1 << 32
"""Integer keys and memo slots stay below: larger ones could be chosen to collide."""


@dataclass(frozen=True, slots=True)
class Constructor:
    """A name in the table that may be called with the arguments the pickle gives."""

    name: str
    build: Callable[[tuple[Any, ...]], object]
    """Raises MalformedError where the arguments are not what they must be."""


@dataclass(frozen=True, slots=True)
class AllowedNames:
    """What a pickle may ask for."""

    names: Mapping[str, object]
    """What each allowed global stands for; only a `Constructor` can be called."""
    persistent: Callable[[object], object]
    """What a persistent id stands for; raises MalformedError."""


def unpickle(window: Window, vocabulary: AllowedNames, path: Path) -> object:
    """Read the value of the pickle at the start of `window`, which is left just after it.

    Raises:
        UnsafeError: it asks for a global outside the vocabulary, which is named.
        FormatError: it is truncated, malformed, or larger than any checkpoint's.
    """
    try:
        return _Machine(vocabulary, path).run(window)
    except MalformedError as error:
        raise FormatError(f"the pickle in {path} is malformed at byte {window.position}: {error}") from error


def describe(value: object) -> str:
    """Describe a value in a message: scalars are shown, containers only named (they may be huge or cyclic)."""
    if isinstance(value, str | int | float | None):
        return shorten(repr(value))
    return f"a {type(value).__name__}"


def shorten(text: str, length: int = 200) -> str:
    """Cut `text` to at most `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


class _Machine:
    """The stack, the marks and the memo of one pickle."""

    def __init__(self, vocabulary: AllowedNames, path: Path) -> None:
        self._vocabulary = vocabulary
        self._path = path
        self._stack: list[Any] = []
        self._below_marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._budget = MAX_OPCODES

    def run(self, window: Window) -> object:
        for name, argument in read_opcodes(window):
            self._spend(1)
            if name in _PUSHED:
                self._stack.append(argument)
                continue
            perform = _ACTIONS.get(name)
            if perform is None:
                raise MalformedError(f"opcode {name}, which torch.save does not write")
            perform(self, argument)
        return self._pop()

    def _spend(self, units: int) -> None:
        self._budget -= units
        if self._budget < 0:
            raise MalformedError(f"it takes more than {MAX_OPCODES} steps")

    # The stack.

    def push(self, value: object) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if not self._stack:
            raise MalformedError("it takes a value from an empty stack")
        return self._stack.pop()

    def _top(self, kind: type) -> Any:
        if not self._stack or type(self._stack[-1]) is not kind:
            found = describe(self._stack[-1]) if self._stack else "nothing"
            raise MalformedError(f"it adds to {found}, expected a {kind.__name__}")
        return self._stack[-1]

    def mark(self, _: object) -> None:
        self._below_marks.append(self._stack)
        self._stack = []

    def _pop_to_mark(self) -> list[Any]:
        if not self._below_marks:
            raise MalformedError("it lacks a mark")
        items, self._stack = self._stack, self._below_marks.pop()
        return items

    def _pop_count(self, count: int) -> list[Any]:
        items = [self._pop() for _ in range(count)]
        return items[::-1]

    # The memo.

    def put(self, slot: int) -> None:
        if not 0 <= slot < MAX_KEY:
            raise MalformedError("a memo slot out of range")
        if not self._stack:
            raise MalformedError("it remembers a value of an empty stack")
        self._memo[slot] = self._stack[-1]

    def get(self, slot: int) -> None:
        if slot not in self._memo:
            raise MalformedError(f"it recalls memo {describe(slot)}, which was not put")
        self._stack.append(self._memo[slot])

    # Containers.

    def tuple_of(self, count: int | None) -> None:
        items = self._pop_to_mark() if count is None else self._pop_count(count)
        self._stack.append(tuple(items))

    def list_of(self, _: object) -> None:
        items = self._pop_to_mark()
        self._stack.append(items)

    def dict_of(self, _: object) -> None:
        items = self._pop_to_mark()
        self._stack.append({})
        self.set_items(items)

    def append(self, items: list[Any]) -> None:
        self._top(list).extend(items)

    def set_items(self, items: list[Any]) -> None:
        if len(items) % 2:
            raise MalformedError("a key without a value")
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int) or (isinstance(key, int) and not -MAX_KEY < key < MAX_KEY):
                raise MalformedError(
                    f"{describe(key)} as a dictionary key, expected a string or a small integer"
                )
            target[key] = value

    # Names and calls.

    def name(self, name: str) -> None:
        if name not in self._vocabulary.names:
            raise self.refuse(name)
        self._stack.append(self._vocabulary.names[name])

    def stack_name(self, _: object) -> None:
        module, name = self._pop_count(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise MalformedError("a global whose name is not text")
        self.name(f"{module}.{name}")

    def instance(self, name: str) -> None:
        self.name(name)
        raise MalformedError(f"opcode INST of {name}, which torch.save does not write")

    def extension(self, code: int) -> None:
        raise self.refuse(f"extension {code}")

    def refuse(self, name: str) -> UnsafeError:
        return UnsafeError(
            f"{self._path} asks for {shorten(name)!r} when it is read, which is not part of a tensor",
            hint="loading such a file the usual way can run any code; look for a safetensors release",
        )

    def call(self, _: object) -> None:
        function, arguments = self._pop_count(2)
        if not isinstance(function, Constructor) or not isinstance(arguments, tuple):
            raise MalformedError(f"it calls {describe(function)}")
        # A constructor may copy what a container holds: each item is paid for.
        self._spend(sum(len(item) for item in arguments if isinstance(item, list | tuple | dict)))
        self._stack.append(function.build(arguments))

    def build(self, _: object) -> None:
        # The attributes of an OrderedDict (`_metadata` of a state dict): of no use here.
        self._pop()
        self._top(dict)

    def persistent(self, _: object) -> None:
        self._stack.append(self._vocabulary.persistent(self._pop()))


_PUSHED = frozenset(
    {"BININT", "BININT1", "BININT2", "BINFLOAT", "LONG1", "LONG4", "INT", "LONG", "FLOAT", "NONE"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
    | {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
)
"""Opcodes that push their argument."""

_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "STOP": lambda machine, _: None,
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "LIST": _Machine.list_of,
    "DICT": _Machine.dict_of,
    "MARK": _Machine.mark,
    "TUPLE": lambda machine, _: machine.tuple_of(None),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": lambda machine, _: machine.append(machine._pop_count(1)),
    "APPENDS": lambda machine, _: machine.append(machine._pop_to_mark()),
    "SETITEM": lambda machine, _: machine.set_items(machine._pop_count(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine._pop_to_mark()),
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": lambda machine, _: machine.put(len(machine._memo)),
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stack_name,
    "INST": _Machine.instance,
    "EXT1": _Machine.extension,
    "EXT2": _Machine.extension,
    "EXT4": _Machine.extension,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
