"""Stage `labelled`: labelled answers as they were drawn -> a detector's log odds.

Nothing is balanced here, so that shares are those of the data. The first answer to each question counts, since
several answers to one question are not independent.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hneurons.answers.locating import FINDERS
from hneurons.answers.responses import Classes
from hneurons.core.artifacts import FileStage, read_file
from hneurons.core.errors import NotEnoughDataError, OtherSettingsError
from hneurons.core.files import stored_errors
from hneurons.core.rows import dump_json, from_row, load_json
from hneurons.core.seeds import fingerprint
from hneurons.core.types import Question, Response, Verdict, identify
from hneurons.detection.assessing import assess_answers
from hneurons.detection.assessment import Answer
from hneurons.detection.decisions.labelled import LabelledScore, LabelledScores
from hneurons.detection.detector import Detector
from hneurons.models.endpoint import Endpoint
from hneurons.models.language_model import LanguageModel
from hneurons.models.prompts import PromptStyle

STAGE = "labelled"
RESULT = "labelled.json"


class Drawn(NamedTuple):
    """The first answer to each question that is right or wrong, and counts of those that are neither."""

    answers: list[tuple[Question, Response, bool]]
    left_out: dict[str, int]


def first_answers(
    questions: Sequence[Question], responses: Iterable[Response], verdicts: Mapping[str, Verdict]
) -> Drawn:
    """The first answers that were judged right or wrong. Cut-off ones, and those that are neither, are counted."""
    firsts = {response.question_id: response for response in responses if not response.sample}
    classes, left_out, kept = Classes(questions), Counter[str](), []
    for question in questions:
        response = firsts.get(question.id)
        if response is None:
            left_out["not asked"] += 1
            continue
        verdict = verdicts[response.id]
        wrong = classes.of(question, verdict, response.text)
        if response.finish_reason != "stop":
            left_out["cut off"] += 1
        elif wrong is None:
            left_out[verdict] += 1
        else:
            kept.append((question, response, wrong))
    return Drawn(kept, {reason: number for reason, number in sorted(left_out.items())})


def score_labelled(
    drawn: Drawn,
    detector: Detector,
    load: Callable[[], LanguageModel],
    *,
    name: str,
    style: PromptStyle,
    finder: str = "response",
    endpoint: Endpoint | None = None,
    batch_size: int = 16,
    out: Path,
) -> LabelledScores:
    """Score labelled answers as `score` does, and keep the log odds in `out`.

    `load` gives the model. It is called only where the log odds are not there yet. Answers that cannot be scored are
    counted. An earlier result of other answers or another detector is replaced. Raises what `assess_answers` raises,
    and `NotEnoughDataError` where nothing can be scored.
    """
    if not drawn.answers:
        said = ", ".join(f"{number} {reason}" for reason, number in drawn.left_out.items()) or "no answers"
        raise NotEnoughDataError(f"'{name}' has no answer that is known to be right or wrong ({said}): give labels")
    settings = {
        "detector": detector.content,
        "contributions": True,
        "style": style.to_row(),
        "finder": [finder, FINDERS.get(finder).version, endpoint.model if endpoint else None],
    }
    labels = [[question.group, wrong] for question, _, wrong in drawn.answers]
    inputs = {
        "questions": fingerprint([question.to_row() for question, _, _ in drawn.answers]),
        "responses": identify([response for _, response, _ in drawn.answers]),
        "labels": fingerprint([labels, drawn.left_out]),
    }
    stage = FileStage(out, stage=STAGE, settings=settings, inputs=inputs, replace=True)
    if stage.complete:
        with stored_errors(out):
            return from_row(LabelledScores, load_json(read_file(out, RESULT, stage.manifest)))
    answers = [
        Answer(response.id, question.text, response.text, token_ids=response.token_ids)
        for question, response, _ in drawn.answers
    ]
    options: dict[str, Any] = {"style": style, "finder": finder, "endpoint": endpoint, "batch_size": batch_size}
    model, parts = load(), out / "scores"
    try:
        assessed = assess_answers(model, detector, answers, **options, out=parts).rows
    except OtherSettingsError:  # of answers or a detector that this call replaces
        shutil.rmtree(parts)
        assessed = assess_answers(model, detector, answers, **options, out=parts).rows
    left_out = Counter(drawn.left_out)
    rows = []
    for (question, response, wrong), found in zip(drawn.answers, assessed, strict=True):
        if found.problem:
            left_out[found.problem] += 1
        else:
            odds = round(found.log_odds, 6)
            rows.append(LabelledScore(response.id, question.group, odds, wrong, found.contributions))
    if not rows:
        raise NotEnoughDataError(f"no answer of '{name}' could be scored: {assessed[0].problem}")
    scores = LabelledScores(name, detector.content, tuple(rows), dict(sorted(left_out.items())))
    stage.finish({RESULT: dump_json(scores) + b"\n"}, {"answers": len(rows), "left_out": scores.left_out})
    return scores
