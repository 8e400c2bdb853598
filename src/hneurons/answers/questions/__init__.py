"""Question sets: public ones, built-in ones, and the user's own rows. A file here that registers a set is enough."""

from pathlib import Path

from hneurons.answers.questions.rows import QUESTIONS, QuestionSource, drop_duplicates, question_key, question_marks
from hneurons.core.errors import InputError, SchemaError
from hneurons.core.registry import import_modules
from hneurons.core.seeds import derive_seed
from hneurons.core.types import Question

__all__ = ["QUESTIONS", "QuestionSource", "load_questions", "question_key", "question_marks"]

import_modules(__name__, __path__)


def load_questions(spec: str, *, limit: int | None = None, seed: int = 0) -> list[Question]:
    """Load a question set named `NAME` or `NAME:FILE`, where FILE may be several paths with commas between them.

    The order is a shuffle that depends on nothing but `seed` and each question's id, so `limit` takes a random subset
    and a smaller limit a part of it. Questions whose text differs only in case, diacritics and punctuation count once.

    Raises:

    - `InputError` for an unknown name, or a file that is missing, empty or unreadable.
    - `SchemaError` that names the row and the field where a record is not of the set's schema.
    - `EndpointError` where the hub cannot be reached.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit should be at least 1, found {limit}")
    name, _, paths = spec.partition(":")
    files = [Path(path.strip()).expanduser() for path in paths.split(",") if path.strip()]
    if ":" in spec and not files:
        raise InputError(f"'{spec}' names no file after the colon: give {name}:FILE, or {name} alone")
    questions = drop_duplicates(QUESTIONS.get(name)(files, limit=limit, seed=seed), lambda q: question_key(q.text))
    _check_ids(questions)
    return sorted(questions, key=lambda question: derive_seed("questions", seed, question.id))[:limit]


def _check_ids(questions: list[Question]) -> None:
    texts: dict[str, str] = {}
    for question in questions:
        if question.id in texts:
            raise SchemaError(
                f"the id '{question.id}' stands for two questions: '{texts[question.id]}' and '{question.text}'"
            )
        texts[question.id] = question.text
