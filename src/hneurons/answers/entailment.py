"""Stage `entailments`: what the samples of each question say about each other, by the model itself or an NLI model."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from hneurons.answers.meanings import MODEL, Meanings, Relation, first_texts, plain_answer
from hneurons.answers.responses import group_by_question
from hneurons.core.artifacts import RowStore, load_rows
from hneurons.core.files import stored_errors
from hneurons.core.progress import progress
from hneurons.core.rows import from_row
from hneurons.core.seeds import fingerprint
from hneurons.core.timing import Clock
from hneurons.core.types import Example, Question, Response

if TYPE_CHECKING:
    from hneurons.models.language_model import LanguageModel
    from hneurons.models.nli import NLIModel

STAGE, VERSION = "entailments", 1
CHUNK = 512
BATCH = 32
_FIELDS = ("relation", "question_id", "premise", "hypothesis")
_OPTIONS: tuple[Relation, ...] = ("entailment", "neutral", "contradiction")
_ASK = """Two answers to one question follow. What does the first answer say about the second?
Question: {question}
First answer: {premise}
Second answer: {hypothesis}
If the first answer is true, then the second answer:
 (A) is true as well
 (B) may be true or false
 (C) is false"""


class Pair(NamedTuple):
    """Two different answers to a question: does the first entail the second?"""

    question: Question
    premise: str
    hypothesis: str


Read = Callable[[Sequence[int]], Iterable[str]]
"""What some of the pairs, given by their numbers, say."""


class EntailmentJudge(Protocol):
    """Who is asked. `settings` decides its answers."""

    def settings(self) -> dict[str, Any]:
        """What the manifest records."""

    def prepare(self, pairs: Sequence[Pair]) -> tuple[Read, Sequence[int]]:
        """How to read pairs by their numbers, and the length of each in tokens."""


class ModelEntailment:
    """The model that wrote the answers is asked which of three options is so; the likeliest letter counts."""

    def __init__(self, model: "LanguageModel") -> None:
        self.model = model

    def settings(self) -> dict[str, Any]:
        return {"judge": MODEL, "model": self.model.identity.to_row(), **self.model.dtype_setting}

    def prepare(self, pairs: Sequence[Pair]) -> tuple[Read, Sequence[int]]:
        from hneurons.models.options import Asked, OptionReader

        asked = [
            Asked(
                _ASK.format(
                    question=pair.question.text,
                    premise=plain_answer(pair.premise),
                    hypothesis=plain_answer(pair.hypothesis),
                ),
                "The second answer: (",
            )
            for pair in pairs
        ]
        reader = OptionReader(self.model, asked, ("A", "B", "C"))

        def read(numbers: Sequence[int]) -> list[str]:
            return [_OPTIONS[place] for place in reader.read(numbers).argmax(axis=1)]

        return read, [len(prompt) for prompt in reader.prompts]


class NLIEntailment:
    """An NLI model reads each answer behind its question (arXiv 2302.09664, algorithm 1)."""

    def __init__(self, model: "NLIModel") -> None:
        self.model = model

    def settings(self) -> dict[str, Any]:
        return {"judge": self.model.name, **self.model.settings()}

    def prepare(self, pairs: Sequence[Pair]) -> tuple[Read, Sequence[int]]:
        texts = [
            (f"{p.question.text} {plain_answer(p.premise)}", f"{p.question.text} {plain_answer(p.hypothesis)}")
            for p in pairs
        ]

        def read(numbers: Sequence[int]) -> list[str]:
            return self.model.classify([texts[number] for number in numbers])

        return read, [self.model.length(*text) for text in texts]


def texts_of(examples: Sequence[Example], responses: Iterable[Response]) -> dict[str, list[str]]:
    """By id of the questions of located examples, one text for each meaning that strings tell apart in its samples."""
    drawn = group_by_question(responses)
    asked = dict.fromkeys(e.question.id for e in examples if e.token_span is not None)
    return {question: first_texts([r.text for r in drawn.get(question, ())]) for question in asked}


def measure_entailments(
    judge: EntailmentJudge, examples: Sequence[Example], responses: Iterable[Response], *, out: Path | None = None
) -> Meanings:
    """Ask the judge about every ordered pair of different samples of a located example's question.

    Texts that strings call the same are asked about once. Resumable with `out`. The summary counts questions, pairs
    and what was said. The `Meanings` have the rule "both"; replace it for another one.

    Raises `PromptTooLongError`, `StorageError`.
    """
    texts = texts_of(examples, responses)
    questions = {e.question.id: e.question for e in examples}
    pairs = [Pair(questions[name], *pair) for name, said in texts.items() for pair in permutations(said, 2)]
    settings = {**judge.settings(), "version": VERSION}
    chunks = range(0, len(pairs), CHUNK)
    inputs = {"texts": identify_texts(texts)}
    store = RowStore(out, stage=STAGE, settings=settings, inputs=inputs, expected=len(chunks))
    if not store.complete:
        read, lengths = judge.prepare(pairs) if pairs else (lambda numbers: (), [])
        order = sorted(range(len(pairs)), key=lambda number: (lengths[number], number))
        clock, share = Clock(out, done=store.done), len(texts) / max(1, len(pairs))
        with progress("meanings", len(pairs), done=len(store.rows)) as advance:
            for start in chunks[store.done :]:
                rows: list[dict[str, Any]] = []
                chunk = order[start : start + CHUNK]
                for first in range(0, len(chunk), BATCH):
                    numbers = chunk[first : first + BATCH]
                    with clock.time(STAGE, len(numbers) * share, passes=len(numbers)):
                        rows += map(_to_row, (pairs[number] for number in numbers), read(numbers))
                    advance(len(numbers))
                store.commit(rows)
                clock.save()
        said = Counter(row["relation"] for row in store.rows)
        store.finish({"questions": len(texts), "pairs": len(pairs), **{name: said[name] for name in _OPTIONS}})
    return _read(store.rows, store.manifest.settings["judge"], store.manifest.fingerprint)


def load_entailments(folder: Path) -> Meanings:
    """Read a finished `entailments` folder. Raises `InputError` for another one, `ArtifactError` for a damaged one."""
    manifest, rows = load_rows(folder, stage=STAGE)
    with stored_errors(folder):
        return _read(rows, str(manifest.settings["judge"]), manifest.fingerprint)


def identify_texts(texts: Mapping[str, Sequence[str]]) -> str:
    """16 hex digits of the texts that a judge is asked about."""
    return fingerprint(texts)


def _to_row(pair: Pair, relation: str) -> dict[str, Any]:
    return {
        "question_id": pair.question.id,
        "premise": pair.premise,
        "hypothesis": pair.hypothesis,
        "relation": relation,
    }


def _read(rows: Iterable[dict[str, Any]], judge: str, content: str) -> Meanings:
    table: dict[str, dict[tuple[str, str], Relation]] = {}
    for row in rows:
        said = from_row(tuple[Relation, str, str, str], [row[name] for name in _FIELDS])
        table.setdefault(said[1], {})[said[2], said[3]] = said[0]
    return Meanings(judge, table=table, content=content)
