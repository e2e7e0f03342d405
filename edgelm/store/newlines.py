"""Line ends as everything behind the door expects them."""

from __future__ import annotations


def unix_newlines(text: str) -> str:
    r"""Return `text` with `\n` for `\r\n` and `\r`: terminals paste the one, files of other systems hold the other."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
