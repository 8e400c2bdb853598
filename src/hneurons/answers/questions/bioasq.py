"""BioASQ task b, factoid questions (Tsatsaronis et al. 2015, doi 10.1186/s12859-015-0564-6)."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from hneurons.answers.questions.rows import QUESTIONS, demands_answers, read_rows
from hneurons.core.errors import InputError, SchemaError
from hneurons.core.types import Question

logger = logging.getLogger(__name__)


@QUESTIONS.register("bioasq")
@demands_answers
def read_bioasq(files: Sequence[Path], *, limit: int | None, seed: int) -> Iterator[Question]:
    """BioASQ factoid: biomedical experts' questions (needs a file, from participants-area.bioasq.org).

    Rows: `id`, `type`, `body`, `exact_answer` (synonyms, possibly in nested lists); other types are left out.
    """
    if not files:
        raise InputError(
            "'bioasq' has no copy that can be fetched without an account: download the training set of task b at "
            "https://participants-area.bioasq.org/datasets/ and give it as bioasq:FILE"
        )
    factoid = other = 0
    for row in read_rows(files):
        if row.text("type") != "factoid":
            other += 1
            continue
        factoid += 1
        yield Question(
            id=f"bioasq:{row.text('id')}",
            text=row.text("body"),
            answers=row.texts("exact_answer"),
            source="bioasq",
            domain="biomedicine",
        )
    if other:
        logger.info("%d of %d BioASQ questions left out: not of type factoid", other, factoid + other)
    if not factoid:
        names = ", ".join(str(path) for path in files)
        raise SchemaError(f"{names}: no row has type 'factoid'; give a BioASQ task b file with factoid questions")
