"""Stage `select`: judged responses -> examples of both classes, balanced, with a count of what was dropped and why."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hneurons.answers.judges.reasoning import cut_reasoning
from hneurons.answers.responses import Classes, group_by_question
from hneurons.core.artifacts import RowStore, load_rows
from hneurons.core.errors import InputError, NotEnoughDataError
from hneurons.core.files import stored_errors
from hneurons.core.seeds import derive_seed, fingerprint
from hneurons.core.showing import data_frame, one_line
from hneurons.core.types import Example, Judgement, Question, Response, Verdict, identify

if TYPE_CHECKING:
    from pandas import DataFrame

STAGE = "examples"
Split = Literal["train", "test"]


class Examples(NamedTuple):
    """Examples in question order, and the stage's counts."""

    examples: list[Example]
    summary: dict[str, Any]

    def __repr__(self) -> str:
        wrong = sum(example.hallucinated for example in self.examples)
        located = sum(example.char_span is not None for example in self.examples)
        return one_line(self, f"{len(self.examples) - wrong} right + {wrong} wrong answers", f"{located} located")

    def to_pandas(self) -> "DataFrame":
        """One row an example: see `examples_frame`. Needs the extra `pandas`."""
        return examples_frame(self.examples)


def examples_frame(examples: Sequence[Example], log_odds: Mapping[str, float] | None = None) -> "DataFrame":
    """Examples as a data frame of pandas. Raises `MissingExtraError` without it.

    Columns: id (the index), question, response, answer (the located part of the response, None before `locate`),
    verdict, hallucinated, split, finish_reason, domain, relation. With `log_odds`, by id, these too, NaN where unknown.
    """
    columns: dict[str, list[Any]] = {
        "id": [e.id for e in examples],
        "question": [e.question.text for e in examples],
        "response": [e.response.text for e in examples],
        "answer": [None if e.char_span is None else e.response.text[slice(*e.char_span)] for e in examples],
        "verdict": [e.verdict for e in examples],
        "hallucinated": [e.hallucinated for e in examples],
        "split": [e.split for e in examples],
        "finish_reason": [e.response.finish_reason for e in examples],
        "domain": [e.question.domain for e in examples],
        "relation": [e.question.relation for e in examples],
    }
    if log_odds is not None:
        columns["log_odds"] = [log_odds.get(e.id, math.nan) for e in examples]
    return data_frame(columns, index="id")


def select_examples(
    questions: Sequence[Question],
    responses: Sequence[Response],
    judgements: Sequence[Judgement],
    *,
    n: int = 10,
    min_agreement: int | None = None,
    per_class: int | None = None,
    split: Split = "train",
    seed: int = 0,
    uneven: bool = False,
    out: Path | None = None,
) -> Examples:
    """Keep questions whose answers agree, one response each, as many right as wrong within every relation.

    With `n` > 1: questions answered consistently, at least `min_agreement` (default: all) of `n` responses right, or
    as many wrong (arXiv 2512.01797, section 2.1). The example is the most frequent answer of that class, its
    earliest untruncated sample. With `n` = 1: the first response as it came, the natural samples of the paper's
    evaluation. Right and wrong are balanced within each relation by a seeded draw, so that the relation cannot
    tell the class; `per_class` then caps each class. The summary counts what was dropped, and why. "class full"
    are questions that sampling gave up though their samples might have agreed. "truncated" are those whose agreeing
    samples were all cut off.

    `uneven` is for recorded answers, of which questions have different numbers up to `n`: all of a question's answers
    must agree, or `min_agreement` of them.

    Raises `NotEnoughDataError` when a class is empty, `InputError` when a response has no verdict.
    """
    needed = min_agreement or n
    if not n / 2 < needed <= n:
        raise InputError(f"min-agreement must be more than half of n and at most n = {n}, got {needed}")
    settings: dict[str, Any] = {"n": n, "min_agreement": needed, "per_class": per_class, "split": split, "seed": seed}
    settings |= {"uneven": "some agree" if min_agreement else "all agree"} if uneven else {}
    inputs = {
        "questions": fingerprint([q.to_row() for q in questions]),
        "responses": identify(responses),
        "verdicts": fingerprint([j.to_row() for j in judgements]),
    }
    earlier = {"responses": fingerprint([r.to_row() for r in responses])}
    store = RowStore(out, stage=STAGE, settings=settings, inputs=inputs, expected=1, earlier_inputs=earlier)
    if store.complete:
        return Examples([Example.from_row(row) for row in store.rows], store.manifest.summary)
    verdicts = {j.id: j.verdict for j in judgements}
    missing = [r.id for r in responses if r.id not in verdicts]
    if missing:
        raise InputError(f"{len(missing)} responses have no verdict (first: {missing[0]}): run 'label' on all of them")
    drawn = group_by_question(responses)
    set_classes = Classes(questions)
    dropped: Counter[str] = Counter()
    kept: list[Example] = []
    for question in questions:
        own = drawn.get(question.id, [])
        classes = {r.id: set_classes.of(question, verdicts[r.id], r.text) for r in own}
        most = min(n, len(own)) if uneven else n
        enough = needed if min_agreement or not uneven else most
        example, reason = _consistent(question, own, classes, verdicts, most, enough, split)
        if example is not None:
            kept.append(example)
        else:
            dropped[reason] += 1
    balanced = _balance(kept, per_class, seed, split)
    dropped["balancing"] += len(kept) - len(balanced)
    summary = {
        "questions": len(questions),
        "consistent": _class_counts(kept),
        "selected": _class_counts(balanced),
        "relations": len({e.question.relation for e in balanced}),
        "dropped": {reason: count for reason, count in sorted(dropped.items()) if count},
        "contrast": "invented against real" if any(e.verdict == "unscored" for e in kept) else "wrong against right",
    }
    if split == "train":
        _demand_both_classes(_class_counts(kept), _class_counts(balanced), len(drawn), n, needed)
    if not store.done:  # a run killed before it was finished has them already
        store.commit([e.to_row() for e in balanced])
    store.finish(summary)
    return Examples(balanced, summary)


def load_examples(folder: Path, *, stage: str = STAGE) -> Examples:
    """Read a finished `select` (or, with that stage, `locate`) folder."""
    manifest, rows = load_rows(folder, stage=stage)
    with stored_errors(folder):
        return Examples([Example.from_row(row) for row in rows], manifest.summary)


def _consistent(
    question: Question,
    drawn: list[Response],
    classes: dict[str, bool | None],
    verdicts: dict[str, Verdict],
    n: int,
    needed: int,
    split: Split,
) -> tuple[Example | None, str]:
    """The question's example, or why it has none."""
    if not drawn:
        return None, "not asked"
    drawn = [r for r in drawn if r.sample < n]
    for hallucinated in (False, True):
        agreeing = [r for r in drawn if classes[r.id] is hallucinated]
        if len(agreeing) >= needed:
            whole = [r for r in agreeing if r.finish_reason == "stop"]
            if not whole:
                return None, "truncated"
            common = Counter(_plain(r.text) for r in whole).most_common(1)[0][0]
            chosen = next(r for r in whole if _plain(r.text) == common)
            return Example(question, chosen, verdicts[chosen.id], split), ""
    agreed = max([classes[r.id] for r in drawn].count(c) for c in (False, True))
    if len(drawn) < n and agreed + n - len(drawn) >= needed:
        return None, "class full"  # sampling stopped though its answers might yet have agreed
    found = Counter(verdicts[r.id] for r in drawn)
    for verdict in ("unscored", "abstained"):
        if found[verdict]:
            return None, verdict
    return None, "inconsistent"


def _plain(text: str) -> str:
    return re.sub(r"\W+", " ", cut_reasoning(text).text.casefold()).strip()


def _balance(examples: list[Example], per_class: int | None, seed: int, split: Split) -> list[Example]:
    """As many of each class as the rarer one has, relation by relation, drawn by seed; question order is kept.

    A test set with one class only is kept, for the share that the detector flags.
    """
    if split == "test" and 0 in _class_counts(examples).values():
        drawn = {e.id for e in _shuffled(examples, seed)[:per_class]}
        return [e for e in examples if e.id in drawn]
    relations: dict[str, dict[bool, list[Example]]] = defaultdict(lambda: {False: [], True: []})
    for example in examples:
        relations[example.question.relation][example.hallucinated].append(example)
    pairs: list[tuple[Example, Example]] = []
    for groups in relations.values():
        right, wrong = (_shuffled(groups[c], seed) for c in (False, True))
        pairs += zip(right, wrong, strict=False)
    pairs.sort(key=lambda pair: derive_seed("pair", seed, pair[0].id))
    chosen = {e.id for pair in pairs[:per_class] for e in pair}
    return [e for e in examples if e.id in chosen]


def _shuffled(examples: list[Example], seed: int) -> list[Example]:
    return sorted(examples, key=lambda e: derive_seed("balance", seed, e.id))


def _class_counts(examples: Iterable[Example]) -> dict[str, int]:
    counts = Counter(e.hallucinated for e in examples)
    return {"right": counts[False], "wrong": counts[True]}


def _demand_both_classes(consistent: dict[str, int], balanced: dict[str, int], asked: int, n: int, needed: int) -> None:
    if balanced["right"] and balanced["wrong"]:
        return
    rule = f"in at least {needed} of {n} samples" if n > 1 else "in a single sample"
    raise NotEnoughDataError(
        f"of {asked} questions asked {consistent['right']} were answered right {rule} and {consistent['wrong']} wrong, "
        "with no relation that has both: ask more or easier questions, add shots, lower the temperature or "
        "--min-agreement"
    )
