"""Stage `sample` where the answers exist already: recorded answers -> responses, and the verdicts that came with them.

No model is asked. What comes after is as in any run.
"""

from collections.abc import Sequence
from pathlib import Path

from hneurons.answers.questions.recorded import RecordedAnswer
from hneurons.answers.responses import STAGE, Responses, group_by_question
from hneurons.core.artifacts import MANIFEST, Manifest, RowStore, load_rows
from hneurons.core.files import stored_errors
from hneurons.core.seeds import fingerprint
from hneurons.core.types import Judgement, Question, Response, Verdict, identify
from hneurons.models.prompts import PromptStyle

GIVEN = "given"
"""The folder of the verdicts beside that of the responses."""
_REASON = "came with the answer"


def record_responses(
    questions: Sequence[Question], answers: Sequence[RecordedAnswer], *, style: PromptStyle, out: Path
) -> Responses:
    """Keep the answers to these questions in `out`, in question order, and their verdicts in `given` beside it.

    `style` is how the questions were put to the model. An earlier record of other answers is replaced. Raises
    `StorageError`.
    """
    by_question = group_by_question(answer.response for answer in answers)
    kept = [response for question in questions for response in by_question.get(question.id, ())]
    verdicts = {answer.response.id: answer.verdict for answer in answers}
    given = [
        Judgement(response.question_id, response.sample, verdict, _REASON)
        for response in kept
        if (verdict := verdicts[response.id]) is not None
    ]
    identity = {"responses": identify(kept)}
    beside = RowStore(
        out.with_name(GIVEN), stage=GIVEN, settings={}, expected=1, replace=True,
        inputs={**identity, "verdicts": fingerprint([judgement.to_row() for judgement in given])},
    )  # fmt: skip
    if not beside.complete:
        if not beside.done:  # a run killed before it was finished has them already
            beside.commit([judgement.to_row() for judgement in given])
        beside.finish({"verdicts": len(given)})
    settings = {"model": None, "recorded": True, "style": style.to_row()}
    inputs = {"questions": fingerprint([question.to_row() for question in questions]), **identity}
    store = RowStore(out, stage=STAGE, settings=settings, inputs=inputs, expected=1, replace=True)
    if not store.complete:
        if not store.done:
            store.commit([response.to_row() for response in kept])
        counts = {
            "questions": len(questions),
            "asked": len(by_question.keys() & {question.id for question in questions}),
            "responses": len(kept),
            "truncated": sum(response.finish_reason == "length" for response in kept),
            "recorded": len(kept),
            "with_token_ids": sum(bool(response.token_ids) for response in kept),
            "with_logprobs": sum(bool(response.logprobs) for response in kept),
            "with_verdict": len(given),
        }
        store.finish(counts)
    return Responses([Response.from_row(row) for row in store.rows], style, store.manifest.summary)


def is_recorded(responses: Path) -> bool:
    """Whether a folder of responses holds answers that were recorded elsewhere."""
    return (responses / MANIFEST).is_file() and bool(Manifest.load(responses).settings.get("recorded"))


def load_given(responses: Path) -> dict[str, Verdict]:
    """Response id -> the verdict that came with it; empty beside responses that were drawn."""
    if not is_recorded(responses):
        return {}
    folder = responses.with_name(GIVEN)
    _, rows = load_rows(folder, stage=GIVEN)
    with stored_errors(folder):
        judgements = [Judgement.from_row(row) for row in rows]
    return {judgement.id: judgement.verdict for judgement in judgements}
