"""What a docstring says of a function and of each of its parameters, in Google's, NumPy's and Sphinx's styles.

docstring_parser reads the styles; lines are joined here, as a model is told them. Knows nothing about types.
"""

from __future__ import annotations

import re


def parse_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return `(what it does, {parameter: what it is})` of a docstring as `inspect.getdoc` returns it."""
    from docstring_parser import ParseError, parse

    try:
        parsed = parse(text)
    except ParseError:
        return _joined(text), {}
    # NumPy's style describes several at once, and stars are no part of a name.
    parameters = {
        name.strip().lstrip("*"): _joined(parameter.description)
        for parameter in parsed.params
        for name in parameter.arg_name.split(",")
    }
    return _joined(parsed.description), parameters


def _joined(text: str | None) -> str:
    """The text with its paragraphs, without the line breaks inside them."""
    return "\n\n".join(
        " ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", (text or "").strip())
    )
