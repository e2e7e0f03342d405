"""A chat's title, made of its first prompt: what it is about, without a model. Knows no database."""

from __future__ import annotations

import re

_LENGTH = 60
_ENOUGH = 24
"""Characters from which a sentence says enough; shorter ones take the next with them."""
_FENCE = re.compile(r"(`{3,}|~{3,}).*?(\1|\Z)", re.DOTALL)
_LINK = re.compile(r"https?://(?:www\.)?([^/\s]+)\S*")
_MARKS = re.compile(
    r"^\s*(?:#{1,6}\s+|>\s*|[-*+]\s+|\d+[.)]\s+)|(?<!\w)[*_`]{1,3}(?=\S)|(?<=\S)[*_`]{1,3}(?!\w)"
)
_MENTION = re.compile(r"""(?:^|(?<=\s))@("[^"]+"|\S+)""")
_OPENING = re.compile(
    r"^(?:(?:hi|hello|hey|hallo|good (?:morning|evening|afternoon))(?: there| everyone)?[\s,!.:-]+"
    r"|(?:please|kindly|ok(?:ay)?|so|well|now)[\s,]+"
    r"|(?:can|could|would|will) you (?:please |kindly )?(?=\w)"
    r"|(?:i (?:want|need|would like)|i\'d like) (?:you )?to (?=\w)"
    r"|help me (?:to )?(?=\w))",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n(?=\s*\n|\s*#)|(?<=\n)(?=\s*(?:[-*+]|\d+[.)])\s)")


def title_of(prompt: str) -> str:
    """Make a short title of the first sentences that say something, without greetings and code; "" for a blank prompt."""
    prose = _FENCE.sub(" ", prompt)
    if not prose.strip():  # nothing but code: its first line that is no fence
        prose = "\n".join(
            line for line in prompt.splitlines() if not line.lstrip().startswith(("```", "~~~"))
        )
    prose = _MENTION.sub(lambda found: found[1].strip('"').rpartition("/")[2], _LINK.sub(r"\1", prose))
    title = ""
    for sentence in _SENTENCE.split(prose):
        if len(title) < _ENOUGH:
            title = f"{title} {_said(sentence)}".strip()
    return _cut(title or " ".join(prose.split()))


def _said(sentence: str) -> str:
    """A sentence without what opens it; a capital takes the place of one that was taken away."""
    text = " ".join(_MARKS.sub("", sentence).split())
    shorter = text
    while (opening := _OPENING.match(shorter)) is not None:
        shorter = shorter[opening.end() :]
    if shorter == text:
        return text
    return shorter[:1].upper() + shorter[1:]


def _cut(text: str) -> str:
    """Cut at the end of a word, where there is one."""
    text = text.rstrip(" .:,;")
    if len(text) <= _LENGTH:
        return text
    short = text[:_LENGTH]
    at = short.rfind(" ")
    return (short[:at] if at > _LENGTH // 2 else short[:-1]).rstrip(" .:,;") + "…"
