"""Non-existent entities: the NEC part of UnknownBench (Liu et al. 2024, arXiv 2402.05904)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from hneurons.answers.questions.rows import QUESTIONS, read_rows
from hneurons.core.errors import InputError, SchemaError
from hneurons.core.seeds import fingerprint
from hneurons.core.types import Question


@QUESTIONS.register("nec")
def read_nec(files: Sequence[Path], *, limit: int | None, seed: int) -> Iterator[Question]:
    """Non-existent entities of UnknownBench (needs a file, from github.com/genglinliu/UnknownBench, data/NEC).

    Rows: `prompt`, `label` (1: about something that does not exist, 0: about something real), `category`. Neither
    kind has gold answers.
    """
    if not files:
        raise InputError(
            "'nec' has no copy on the hub: download data/NEC of https://github.com/genglinliu/UnknownBench "
            "and give its files as nec:FILE, or use the built-in set 'invented'"
        )
    for row in read_rows(files):
        text, label = row.text("prompt"), row.number("label")
        if label not in (0, 1):
            raise SchemaError(f"{row.where}: the field 'label' should be 0 (real) or 1 (non-existent), found {label}")
        category = row.text("category")
        yield Question(
            id=f"nec:{fingerprint(text)}",
            text=text,
            source="nec",
            domain=category,
            relation=category,
            answerable=label == 0,
        )
