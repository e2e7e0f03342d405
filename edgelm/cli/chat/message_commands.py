"""Commands of the chat loop that are about messages: list, answer again, edit, branch, rate, delete."""

from __future__ import annotations

from edgelm.cli.chat.loop import ChatLoop, SlashCommand
from edgelm.cli.show.output import say
from edgelm.conversation.attachments import files_named
from edgelm.conversation.branching import beside, prompt_of
from edgelm.conversation.feedback import rate
from edgelm.errors import OptionError
from edgelm.store.chat_schema import Message, Role
from edgelm.store.saved_to_messages import left_out
from edgelm.units import count

_SHOWN = 60
_STATES = {
    "stopped": "stopped",
    "length": "cut at the token limit",
    "failed": "failed",
    "writing": "being written",
}
_RATINGS = {1: "rated good", -1: "rated bad"}


def pick(loop: ChatLoop, words: str, role: Role | None = None) -> Message:
    """Find the message that is meant: by number, else the last, of one role if that is asked for.

    Raises:
        OptionError: there is none, or it is of another role.
    """
    path = loop.recorder.conversation.path
    fitting = [message for message in path if role in (None, message.role)]
    if words.isdecimal():
        if not 1 <= int(words) <= len(path):
            raise OptionError(
                f"there is no message {words}, expected 1 to {len(path)}", hint="/messages lists them"
            )
        chosen = path[int(words) - 1]
        if chosen not in fitting:
            raise OptionError(f"message {words} is of the {chosen.role}, expected one of the {role}")
        return chosen
    if words:
        raise OptionError(f"{words!r} is no number of a message", hint="/messages lists them")
    if not fitting:
        raise OptionError("there is no message yet")
    return fitting[-1]


def _split(rest: str) -> tuple[str, str]:
    """A number, if the line begins with one, and what follows."""
    first, _, more = rest.partition(" ")
    return (first, more.strip()) if first.isdecimal() else ("", rest)


def _list(loop: ChatLoop, _: str) -> None:
    path = loop.recorder.conversation.path
    places = loop.recorder.chats.sibling_places(path[0].session_id) if path else {}
    untold = left_out(path)
    for number, message in enumerate(path, 1):
        line = describe(message, places.get(message.id), is_left_out=message.id in untold)
        say(f"{number:4}  {line}")
    if not path:
        say("there is no message yet")


def describe(message: Message, place: tuple[int, int] | None, *, is_left_out: bool = False) -> str:
    """Describe a message in a line: `you: Why is the … (alternative 2 of 3, rated good)`."""
    who = {"user": "you", "tool": "tool"}.get(message.role) or message.model or "answer"
    text = " ".join(message.content.split())
    text = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    facts = [
        f"alternative {place[0]} of {place[1]}" if place else "",
        _RATINGS.get(message.rating, ""),
        _STATES.get(message.state, ""),
        "written by you" if message.edited_from is not None else "",
        f"{len(message.attachments)} attached" if message.attachments else "",
        "not told to the model: its answer failed" if is_left_out else "",
    ]
    in_brackets = ", ".join(fact for fact in facts if fact)
    return " ".join(part for part in (f"{who}:", text, f"({in_brackets})" if in_brackets else "") if part)


def _read(loop: ChatLoop, rest: str) -> None:
    message = pick(loop, rest)
    for file in message.attachments:
        say(f"attached: {file.name}")
    print(message.content, flush=True)


def _retry(loop: ChatLoop, rest: str) -> None:
    _retry_from(loop, pick(loop, rest))


def _retry_from(loop: ChatLoop, message: Message) -> None:
    prompt = prompt_of(loop.recorder.chats, message)
    if prompt is None:
        raise OptionError("there is no prompt above this message")
    loop.ask(prompt)


def _continue(loop: ChatLoop, rest: str) -> None:
    message = pick(loop, rest, "assistant")
    if not message.is_cut:
        raise OptionError("this answer is whole", hint="/retry answers again")
    if not message.content.strip():
        _retry_from(loop, message)
        return
    loop.go_to(message.id)
    loop.go_on(message)


def _edit(loop: ChatLoop, rest: str) -> None:
    number, text = _split(rest)
    message = pick(loop, number, None if number else "user")
    if message.role != "user":
        _correct(loop, rest)
        return
    text = text or _ask_for_text(loop, message)
    if text:
        loop.go_to(message.parent_id)
        loop.answer(text, message.attachments)


def _correct(loop: ChatLoop, rest: str) -> None:
    number, text = _split(rest)
    message = pick(loop, number, "assistant")
    text = text or _ask_for_text(loop, message)
    if text and text != message.content:
        loop.go_to(loop.recorder.chats.correct(message.id, text).id)
        say("kept as the better answer: it trains the model, and is preferred to the old one")


def _ask_for_text(loop: ChatLoop, message: Message) -> str:
    say("the text as it is:")
    print(message.content, flush=True)
    say("type the new text; an empty line leaves it as it is")
    return loop.read().strip()


def _beside(by: int) -> SlashCommand:
    def go(loop: ChatLoop, rest: str) -> None:
        message = pick(loop, rest) if rest else _last_with_alternatives(loop)
        chats = loop.recorder.chats
        shown = beside(chats, message.id, by)
        chats.show(shown)
        loop.go_to_end()
        place, alternatives = chats.sibling_places(message.session_id)[shown]
        say(f"alternative {place} of {alternatives}:")
        print(chats.message(shown).content, flush=True)

    which = "after" if by > 0 else "before"
    return SlashCommand(f"[N]  go to the alternative {which} this one", go)


def _last_with_alternatives(loop: ChatLoop) -> Message:
    path = loop.recorder.conversation.path
    places = loop.recorder.chats.sibling_places(path[0].session_id) if path else {}
    return next((message for message in reversed(path) if message.id in places), None) or pick(loop, "")


def _branch(loop: ChatLoop, rest: str) -> None:
    branch = loop.recorder.chats.branch(pick(loop, rest).id)
    loop.open(branch.id)
    say(
        f"chat {branch.id}, which begins like the one before, has {count(len(loop.recorder.conversation.path), 'message')}"
    )


def _rate(rating: int) -> SlashCommand:
    def do(loop: ChatLoop, rest: str) -> None:
        now = rate(loop.recorder.chats, pick(loop, rest, "assistant"), rating)
        say(f"the answer is {_RATINGS[now]}" if now else "the rating is taken back")

    return SlashCommand(f"[N]  rate an answer {'good' if rating > 0 else 'bad'}, or take that back", do)


def _remove(loop: ChatLoop, rest: str) -> None:
    loop.recorder.conversation.deletions.message(pick(loop, rest).id)
    loop.go_to_end()
    left = len(loop.recorder.conversation.path)
    say(
        f"deleted, with what came after it; /undo brings it back; "
        f"{count(left, 'message')} {'is' if left == 1 else 'are'} left"
    )


def _attach(loop: ChatLoop, rest: str) -> None:
    files = files_named(rest)
    loop.recorder.attach(files)
    for file in files:
        say(f"{file.name} goes with the next prompt: {count(len(file.text), 'character')}")


COMMANDS = {
    "/messages": SlashCommand("list the messages with their numbers", _list),
    "/read": SlashCommand("[N]  print a message in full", _read),
    "/retry": SlashCommand("[N]  answer again; the old answer stays as an alternative", _retry),
    "/continue": SlashCommand("[N]  go on with an answer that was stopped or cut", _continue),
    "/edit": SlashCommand(
        "[N] [text]  change a prompt and ask again; the old one stays as an alternative", _edit
    ),
    "/correct": SlashCommand(
        "[N] [text]  write an answer as it should have been; it trains the model", _correct
    ),
    "/prev": _beside(-1),
    "/next": _beside(1),
    "/branch": SlashCommand("[N]  a new chat that begins like this one up to N", _branch),
    "/good": _rate(1),
    "/bad": _rate(-1),
    "/remove": SlashCommand("[N]  delete a message and what came after it; /undo brings it back", _remove),
    "/attach": SlashCommand("FILE  send a text file with the next prompt", _attach),
}
