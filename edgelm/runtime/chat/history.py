"""Whether each prompt of a chat goes on from the one before it, token by token, so that nothing is computed twice.

A template may render earlier turns otherwise than they were: most that know thinking leave out what was thought
before. Nothing can be done about that but to say so. Knows tokens, not messages.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgelm.runtime.cache.pool import common_prefix
from edgelm.runtime.events import HistoryRewritten

_WORTH_SAYING = 16  # tokens; fewer are white space at the end of a reply


class RenderedHistory:
    """The tokens of the turns so far, as they were computed."""

    def __init__(self) -> None:
        self._was_said = False
        self.forget()

    def forget(self) -> None:
        """Let the next prompt begin anew."""
        self._known: list[int] = []
        self._setting: object = None

    def compare(self, prompt: Sequence[int], setting: object) -> HistoryRewritten | None:
        """Take the next prompt; what to say of it, the first time that it is not what was expected.

        Args:
            setting: what else the rendering depends on; where it has changed, the template is not to blame.
        """
        kept = common_prefix(self._known, prompt)
        lost = len(self._known) - kept
        is_new = lost >= _WORTH_SAYING and setting == self._setting and not self._was_said
        said = HistoryRewritten(kept, len(self._known)) if is_new else None
        self._was_said = self._was_said or is_new
        self._known, self._setting = list(prompt), setting
        return said

    def replied(self, tokens: Sequence[int]) -> None:
        """Note the reply to that prompt."""
        self._known.extend(tokens)
