"""Plain words: short sentences in docstrings and help, short lines in Markdown."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import hneurons
from support.places import ROOT

SOURCE = Path(hneurons.__file__).parent
MOST_WORDS = 30
_NO_PROSE = ("    ", "├", "└", "│", "$", "```")
_TABLE = re.compile(r"\S {3,}\S")


def sentences(text: str) -> Iterator[str]:
    """The sentences of a docstring or help text; indented blocks and lines of trees, tables and code are left out."""
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:-|\d+\.) )", text):
        lines = [line for line in block.splitlines() if not line.startswith(_NO_PROSE) and not _TABLE.search(line)]
        yield from re.split(r"(?<=[.!?])[)\"'*]*\s+(?=[A-Z0-9`\"'(*])", " ".join(" ".join(lines).split()))


def count_words(sentence: str) -> int:
    return sum(any(c.isalnum() for c in word) for word in sentence.split())


def docstrings(path: Path) -> Iterator[tuple[str, str]]:
    """(name, docstring) of a module and of its public classes, functions and methods."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield "module", ast.get_docstring(tree) or ""
    outer = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    inner = [node for parent in outer if isinstance(parent, ast.ClassDef) for node in parent.body]
    for node in [*outer, *inner]:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, ast.get_docstring(node) or ""


def long_sentences(texts: Iterator[tuple[str, str]]) -> list[str]:
    return [
        f"{name} ({count_words(sentence)} words): {sentence}"
        for name, text in texts
        for sentence in sentences(text)
        if count_words(sentence) > MOST_WORDS
    ]


def test_no_sentence_of_a_public_docstring_is_long() -> None:
    texts = (
        (f"{path.relative_to(SOURCE)}: {name}", text)
        for path in sorted(SOURCE.rglob("*.py"))
        for name, text in docstrings(path)
    )
    found = long_sentences(texts)
    assert not found, "\n".join(found)


def test_no_sentence_of_the_commands_help_is_long() -> None:
    import typer

    from hneurons.cli.app import app

    group = typer.main.get_command(app)
    texts = [(name, command.help or "") for name, command in group.commands.items()]  # type: ignore[attr-defined]
    texts += [
        (f"{name} {parameter.name}", parameter.help or "")
        for name, command in group.commands.items()  # type: ignore[attr-defined]
        for parameter in command.params
    ]
    assert len(texts) > 100
    assert not long_sentences(iter(texts))


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], ids=lambda path: path.name)
def test_no_line_of_markdown_is_long(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [f"line {n} has {len(line)} characters" for n, line in enumerate(lines, 1) if len(line) > 120]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not missing


def test_the_words_of_a_sentence_are_counted() -> None:
    text = "One two (three) - four. Five e.g. six.\n\n- seven eight\n- nine\n\n    code is left out"
    assert [count_words(s) for s in sentences(text) if s] == [4, 3, 2, 1]
