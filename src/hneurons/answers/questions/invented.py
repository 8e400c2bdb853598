"""Questions about things that do not exist, and the same questions about things that do.

Names are put together from the syllables of their kind. A name is taken only if it is no name in the `facts` set and no
word of large word lists; those the syllables can produce are shipped, see scripts/build_name_blocklist.py.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path

from hneurons.answers.questions.facts import fact_rows
from hneurons.answers.questions.rows import QUESTIONS, question_key
from hneurons.core.errors import InputError
from hneurons.core.seeds import derive_seed, fingerprint
from hneurons.core.types import Question

COUNT = 1000


@dataclass(frozen=True, slots=True)
class EntityKind:
    """How the names of one kind sound, what is asked about it, and real things of that kind.

    A name is a syllable (onset, vowel, coda), an onset and an ending; `{}` in a template stands for the name.
    """

    onsets: tuple[str, ...]
    vowels: tuple[str, ...]
    codas: tuple[str, ...]
    endings: tuple[str, ...]
    templates: tuple[str, ...]
    real: tuple[str, ...]

    @property
    def proper(self) -> bool:
        """Whether names of this kind are written with a capital."""
        return self.real[0][0].isupper()

    def invent_name(self, rng: random.Random) -> str:
        onset, vowel, coda, second, ending = map(
            rng.choice, (self.onsets, self.vowels, self.codas, self.onsets, self.endings)
        )
        name = onset + vowel + (coda if len(second) == 1 else "") + second + ending
        return name.capitalize() if self.proper else name


@cache
def entity_kinds() -> dict[str, EntityKind]:
    text = package_files("hneurons.answers.questions").joinpath("data/entity_kinds.json").read_text(encoding="utf-8")
    return {
        name: EntityKind(**{key: tuple(value) for key, value in row.items()}) for name, row in json.loads(text).items()
    }


@cache
def real_names() -> frozenset[str]:
    """Words and names that an invented one must not be, in lower case without diacritics."""
    words = (
        package_files("hneurons.answers.questions").joinpath("data/real_words.txt").read_text(encoding="utf-8").split()
    )
    named = [text for row in fact_rows() for text in row["answers"]]
    asked = [word for row in fact_rows() for word in row["question"].split()]
    known = [name for kind in entity_kinds().values() for name in kind.real]
    return frozenset(map(question_key, [*words, *named, *asked, *known]))


def invent_questions(n: int, *, seed: int = 0) -> Iterator[Question]:
    """`n` questions about as many invented entities, kinds in turn; the first ones do not depend on `n`."""
    taken: set[str] = set()
    kinds = list(entity_kinds().items())
    for number in range(n):
        rng = random.Random(derive_seed("invented", seed, number))
        relation, kind = kinds[number % len(kinds)]
        name = kind.invent_name(rng)
        while question_key(name) in real_names() or question_key(name) in taken:
            name = kind.invent_name(rng)
        taken.add(question_key(name))
        text = rng.choice(kind.templates).format(name)
        yield _entity_question("invented", relation, text, answerable=False)


@QUESTIONS.register("invented")
def read_invented(files: Sequence[Path], *, limit: int | None, seed: int) -> Iterator[Question]:
    """Built-in: questions about invented animals, countries, cities, medicines, foods, sports, minerals and scientists.

    As many as `limit` says, 1,000 without one. Other names with each seed.
    """
    _refuse_files("invented", files)
    return invent_questions(max(limit or COUNT, COUNT), seed=seed)


@QUESTIONS.register("known-entities")
def read_known_entities(files: Sequence[Path], *, limit: int | None, seed: int) -> Iterator[Question]:
    """Built-in: the questions of 'invented' about real things, without gold answers: a control for it."""
    _refuse_files("known-entities", files)
    for relation, kind in entity_kinds().items():
        for template in kind.templates:
            for name in kind.real:
                yield _entity_question("known-entities", relation, template.format(name), answerable=True)


def _entity_question(source: str, relation: str, text: str, *, answerable: bool) -> Question:
    return Question(
        id=f"{source}:{fingerprint(text)}",
        text=text,
        source=source,
        domain=relation,
        relation=relation,
        answerable=answerable,
    )


def _refuse_files(name: str, files: Sequence[Path]) -> None:
    if files:
        raise InputError(
            f"'{name}' is built in and takes no file: give '{name}' alone, or file:FILE for rows of your own"
        )
