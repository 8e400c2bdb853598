"""TriviaQA (Joshi et al. 2017, arXiv 1705.03551), configuration rc.nocontext."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from hneurons.answers.questions.rows import QUESTIONS, demands_answers, fetch_rows, read_rows
from hneurons.core.types import Question


@QUESTIONS.register("triviaqa")
@demands_answers
def read_triviaqa(files: Sequence[Path], *, limit: int | None, seed: int) -> Iterator[Question]:
    """TriviaQA rc.nocontext: trivia with many aliases (hub: mandarjoshi/trivia_qa, validation).

    Rows: `question`, `question_id`, `answer{value, aliases}`.
    """
    rows = read_rows(files) if files else fetch_rows("mandarjoshi/trivia_qa", "rc.nocontext", name="triviaqa")
    for row in rows:
        answer = row.row("answer")
        values = (*answer.texts("value"), *(answer.texts("aliases") if answer.values.get("aliases") else ()))
        yield Question(
            id=f"triviaqa:{row.text('question_id')}",
            text=unquote_csv(row.text("question")),
            answers=tuple(dict.fromkeys(values)),
            source="triviaqa",
        )


def unquote_csv(text: str) -> str:
    """The text of a CSV field that was never unquoted: `"Who wrote ""Emma""?"` is `Who wrote "Emma"?`."""
    if text.startswith('"') and text.endswith('"') and '""' in text:
        return text[1:-1].replace('""', '"').strip()
    return text
