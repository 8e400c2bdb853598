"""NQ-Open (Lee et al. 2019, arXiv 1906.00300): Natural Questions with short answers."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from hneurons.answers.questions.rows import QUESTIONS, demands_answers, fetch_rows, read_rows
from hneurons.core.seeds import fingerprint
from hneurons.core.types import Question


@QUESTIONS.register("nq-open")
@demands_answers
def read_nq_open(files: Sequence[Path], *, limit: int | None, seed: int) -> Iterator[Question]:
    """NQ-Open: real search queries (hub: google-research-datasets/nq_open, validation).

    Rows: `question`, `answer` (list).
    """
    rows = read_rows(files) if files else fetch_rows("google-research-datasets/nq_open", "nq_open", name="nq-open")
    for row in rows:
        text = row.text("question")
        yield Question(
            id=f"nq-open:{fingerprint(text)}",
            text=text,
            answers=row.texts("answer"),
            source="nq-open",
        )
