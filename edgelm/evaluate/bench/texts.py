"""The texts of the benchmark: one to copy, one to make up, and short questions. Written for it."""

from __future__ import annotations

_NOTICE = """\
The ferry to the outer islands leaves from the north pier at half past six every morning except Sunday. \
Passengers with bicycles board first and must walk them down the ramp; motorcycles are loaded last, next to the \
mail crates. A crossing takes about two hours when the sea is calm, and nearly three when the wind stands in the \
west. Tickets are sold in the yellow office behind the fish market until ten minutes before departure, and on \
board for a small surcharge of two crowns. Children under seven travel free, dogs pay half, and goats, which are \
more common on this route than visitors expect, pay the same as a grown person. In winter the last boat back \
leaves at four in the afternoon. Whoever misses it can sleep at the lighthouse keeper's house for eleven crowns, \
breakfast included, provided they help to carry the coal upstairs. Complaints are written into the green book at \
the counter, which the captain reads aloud, with comments, on the first Monday of each month."""

COPY = (
    f"This is a notice.\n\n{_NOTICE}\n\nThis is the same notice again, copied word for word.\n\n"
    "The ferry to the outer islands leaves from"
)
"""A prompt that any language model goes on with by copying."""

OPEN_ENDED = "This is the beginning of a story about a woman who repairs clocks in a town where nobody agrees on the time.\n\n"

QUESTIONS = tuple(
    f"Question: What is surprising about {subject}?\nAnswer:"
    for subject in (
        "the sky", "bread", "a bicycle", "the moon", "honey", "glass", "a volcano", "rain",
        "an old clock", "a library", "salt", "the sea at night", "a lighthouse", "snow", "a violin", "tea",
    )
)  # fmt: skip
