"""The house rules that no linter knows: small folders, small files, one meaning a name, docstrings that are sentences.

That modules, classes and functions have a docstring, and how it is laid out, ruff holds too.
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("edgelm", "converters/edgelm_converters", "tui/edgelm_tui")
MODULES_A_FOLDER = 14
LINES_A_FILE = 400

# First words of a phrase that is no sentence: "Of the head.", "As it was.", "By key.", "Away with it.".
PHRASE = re.compile(
    r"(again|as|at|away|by|down|either|for|from|in|into|less|more|neither|of|off|on|out|over|so|through|to|under|up|with|without)\b",
    re.IGNORECASE,
)
# First words of a noun phrase. A function does something, and its docstring says what: "Return the …", "Refuse …".
NOUN_PHRASE = re.compile(
    r"(`|\(?[\"']"
    r"|(all|an?|another|any|both|each|every|everything|how|its?|many|most|no|nobody|none|nothing|one|others?|several|some|something"
    r"|such|that|the|theirs?|these|they|this|those|two|what|where|whether|which|who|whose|why"
    # Nouns and adjectives that docstrings of this field like to begin with.
    r"|adapters|answers|axes|bars|bits|bytes|caches|chats|codes|computed|continuations|conversations|counted|elements|entries"
    r"|examples|files|final|fresh|functions|gradients|importance|indices|key|keys|legend|lines|log-likelihood|logits|mean|messages?"
    r"|models?|negative|newest|pairs|parameters|path|peak|plain|points|questions|queued|random|rows|saved|scales|seconds|sum|table"
    r"|tabs|text|title|tokens?|tools|training|types|urls|validation|values|weights|words)\b)",
    re.IGNORECASE,
)

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> Iterator[tuple[str, str]]:
    """Every module of the product: its path from the root, and its text."""
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            yield file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")


def public(tree: ast.Module) -> Iterator[tuple[str, Documented]]:
    """A module and the classes, methods and functions in it that have no underscore, each with its dotted name."""
    yield "", tree
    open_nodes: list[tuple[str, ast.Module | ast.ClassDef]] = [("", tree)]
    while open_nodes:
        prefix, parent = open_nodes.pop()
        for node in parent.body:
            if (
                isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and node.name[0] != "_"
            ):
                yield prefix + node.name, node
                if isinstance(node, ast.ClassDef):
                    open_nodes.append((f"{prefix}{node.name}.", node))


def is_noun_like(node: Documented) -> bool:
    """Whether a docstring may name a thing (a module, a class, a property) instead of saying what is done."""
    if isinstance(node, ast.Module | ast.ClassDef):
        return True
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


def fault_of(node: Documented) -> str:
    """What is wrong with a docstring, "" if nothing is."""
    text = ast.get_docstring(node)
    if text is None:
        return "" if isinstance(node, ast.Module) and not node.body else "has no docstring"
    summary = text.split("\n\n")[0]
    if PHRASE.match(summary):
        return f"begins like a phrase, not like a sentence: {summary!r}"
    if len(summary.split()) < 3:
        return f"is too short to say something: {summary!r}"
    if NOUN_PHRASE.match(summary) and not is_noun_like(node):
        return f"does not say what the function does: {summary!r}"
    return ""


def test_every_folder_can_be_read_at_a_glance() -> None:
    sizes = Counter(path.rpartition("/")[0] for path, _ in sources() if not path.endswith("/__init__.py"))
    assert not {folder: size for folder, size in sizes.items() if size > MODULES_A_FOLDER}


def test_every_file_has_one_idea() -> None:
    assert not [path for path, text in sources() if len(text.splitlines()) > LINES_A_FILE]


@pytest.mark.slow
def test_a_public_class_name_means_one_thing() -> None:
    classes: dict[str, list[str]] = defaultdict(list)
    for path, text in sources():
        for name, node in public(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                classes[name.rpartition(".")[2]].append(path)
    assert not {name: paths for name, paths in classes.items() if len(paths) > 1}


@pytest.mark.slow
def test_docstrings_say_what_is_done() -> None:
    faults = [
        f"{path}:{getattr(node, 'lineno', 1)} {name} {fault}"
        for path, text in sources()
        for name, node in public(ast.parse(text))
        if (fault := fault_of(node))
    ]
    assert not faults, "\n".join(faults)


# What a clause of circumstances begins with, beside the words of `PHRASE`.
CIRCUMSTANCE = re.compile(r"(beside|if|like|until|when|where)\b", re.IGNORECASE)


@pytest.mark.slow
def test_no_function_is_told_of_by_half_a_sentence() -> None:
    """Also of private functions and of properties: "As it stands." leaves out what is done, and "Where it is." what it is."""
    faults = [
        f"{path}:{node.lineno} {node.name} {words!r}"
        for path, text in sources()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (words := (ast.get_docstring(node) or "").split("\n\n")[0])
        and (PHRASE.match(words) or CIRCUMSTANCE.match(words))
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.slow
def test_hidden_files_are_never_data() -> None:
    """A glob that begins with a star takes the `._model.safetensors` of a Mac's disk, too: `[!.]*` does not."""
    # Folders of the system, files that are looked for being hidden, names that are taken.
    fine = ("supplies.glob", 'directory.glob("*.pth")', "paths.runs().glob")
    pattern = re.compile(r"[\w.]+(?:\(\))?(?:\.\w+)*\.glob\(f?\"\*.*")
    starred = [(path, match[0]) for path, text in sources() for match in pattern.finditer(text)]
    assert [glob for glob in starred if not glob[1].startswith(fine)] == []


@pytest.mark.slow
def test_notes_on_values_have_a_subject() -> None:
    fragments = [
        f"{path}:{node.lineno} {node.value.value!r}"
        for path, text in sources()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and str(node.value.value).startswith("Of ")
    ]
    assert not fragments, "\n".join(fragments)


@pytest.mark.parametrize(
    ("docstring", "is_fine"),
    [
        ("Either button.", False),
        ("Away with it.", False),
        ("All there is.", False),
        ("Says so.", False),
        ("Of one batch; nothing is changed.", False),
        ("The chat.", False),
        ("Return the chat of `key`.", True),
        ("Close the file.", True),
    ],
)
def test_the_rule_tells_a_fragment_from_a_sentence(docstring: str, is_fine: bool) -> None:
    node = ast.parse(f'def act():\n    """{docstring}"""').body[0]
    assert isinstance(node, ast.FunctionDef)
    assert (fault_of(node) == "") == is_fine
