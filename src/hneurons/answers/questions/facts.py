"""The built-in set of plain facts, made by scripts/build_facts.py from well-kept data packages."""

import gzip
import json
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path

from hneurons.answers.questions.rows import QUESTIONS
from hneurons.core.errors import InputError
from hneurons.core.types import Question


@QUESTIONS.register("facts")
def read_facts(files: Sequence[Path], *, limit: int | None, seed: int) -> Iterator[Question]:
    """Built-in: over 4,000 plain facts of 40 relations (capitals, elements, authors, past tenses), easy to hard."""
    if files:
        raise InputError("'facts' is built in and takes no file: give 'facts' alone, or file:FILE for rows of your own")
    for row in fact_rows():
        yield Question(
            id=f"facts:{row['id']}",
            text=row["question"],
            answers=tuple(row["answers"]),
            source="facts",
            relation=row["relation"],
            fact=row.get("fact", ""),
        )


@cache
def fact_rows() -> tuple[dict[str, str], ...]:
    """The shipped rows: id, question, answers, relation, source (packages and their licences), and where two questions
    ask the same thing both ways, fact."""
    data = package_files("hneurons.answers.questions").joinpath("data/facts.jsonl.gz").read_bytes()
    return tuple(json.loads(line) for line in gzip.decompress(data).decode().splitlines())
