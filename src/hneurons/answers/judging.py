"""Stage `label`: responses -> verdicts, by a judge from the registry."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hneurons.answers.judges import alias as alias_judge
from hneurons.answers.judges import llm as llm_judge
from hneurons.core.artifacts import RowStore, load_rows
from hneurons.core.errors import InputError
from hneurons.core.progress import progress
from hneurons.core.registry import Registry
from hneurons.core.seeds import fingerprint
from hneurons.core.types import Judgement, Question, Response, identify
from hneurons.models.endpoint import Endpoint

STAGE = "verdicts"


class Judge:
    """A way to judge responses, registered by name as a class; the docstring's first line is shown to users.

    `version` changes whenever a verdict may; `chunk` responses are committed together.
    """

    version: int
    chunk: int
    needs_endpoint = False

    @staticmethod
    def judge(pairs: Sequence[tuple[Question, Response]], endpoint: Endpoint | None) -> list[Judgement]:
        """One judgement a pair, in order."""
        raise NotImplementedError


JUDGES: Registry[type[Judge]] = Registry("judge", base=Judge)


@JUDGES.register("alias")
class AliasJudge(Judge):
    """Looks for a known answer as whole words; text rules only, no model."""

    version, chunk = alias_judge.VERSION, 2048

    @staticmethod
    def judge(pairs: Sequence[tuple[Question, Response]], endpoint: Endpoint | None) -> list[Judgement]:
        return [
            Judgement(response.question_id, response.sample, *alias_judge.judge_alias(question, response.text))
            for question, response in pairs
        ]


@JUDGES.register("llm")
class LLMJudge(Judge):
    """Asks a model at an OpenAI-compatible endpoint."""

    version, chunk, needs_endpoint = llm_judge.VERSION, 32, True

    @staticmethod
    def judge(pairs: Sequence[tuple[Question, Response]], endpoint: Endpoint | None) -> list[Judgement]:
        assert endpoint is not None
        return llm_judge.judge_with_llm(pairs, endpoint)


class Judgements(NamedTuple):
    """Judgements in the order of the responses, and the stage's counts."""

    judgements: list[Judgement]
    summary: dict[str, Any]


def label_responses(
    questions: Sequence[Question],
    responses: Sequence[Response],
    *,
    judge: str = "alias",
    endpoint: Endpoint | None = None,
    out: Path | None = None,
) -> Judgements:
    """Judge every response against its question. Resumable with `out`.

    The summary counts responses, each verdict, and truncated responses per verdict.

    Raises `InputError` for an unknown judge, a judge without the endpoint it needs, or a response whose question is
    not among `questions`. Raises `EndpointError` when the endpoint is lost; all finished chunks are kept.
    """
    how = JUDGES.get(judge)
    if how.needs_endpoint and endpoint is None:
        raise InputError(f"the judge '{judge}' needs an endpoint: give its url and model")
    by_id = {question.id: question for question in questions}
    unknown = [response.id for response in responses if response.question_id not in by_id]
    if unknown:
        raise InputError(
            f"{len(unknown)} responses answer no given question (first: {unknown[0]}): "
            "give the questions they were drawn from"
        )
    settings = {
        "judge": judge,
        "version": how.version,
        "model": endpoint.model if endpoint is not None and how.needs_endpoint else None,
    }
    asked = {response.question_id for response in responses}
    inputs = {
        "questions": fingerprint([question.to_row() for question in questions if question.id in asked]),
        "responses": identify(responses),
    }
    earlier = {"responses": fingerprint([response.to_row() for response in responses])}
    chunks = range(0, len(responses), how.chunk)
    store = RowStore(out, stage=STAGE, settings=settings, inputs=inputs, expected=len(chunks), earlier_inputs=earlier)
    if not store.complete:
        with progress("label", len(responses), done=len(store.rows), unit="responses") as advance:
            for start in chunks[store.done :]:
                part = responses[start : start + how.chunk]
                judged = how.judge([(by_id[response.question_id], response) for response in part], endpoint)
                store.commit([judgement.to_row() for judgement in judged])
                advance(len(part))
        store.finish(_summary(responses, [Judgement.from_row(row) for row in store.rows]))
    return Judgements([Judgement.from_row(row) for row in store.rows], store.manifest.summary)


def _summary(responses: Sequence[Response], judgements: Sequence[Judgement]) -> dict[str, Any]:
    truncated = Counter(
        judgement.verdict
        for response, judgement in zip(responses, judgements, strict=True)
        if response.finish_reason == "length"
    )
    verdicts = Counter(judgement.verdict for judgement in judgements)
    return {
        "responses": len(responses),
        "verdicts": {verdict: verdicts[verdict] for verdict in ("correct", "incorrect", "abstained", "unscored")},
        "truncated": dict(sorted(truncated.items())),
    }


def load_judgements(folder: Path) -> Judgements:
    """Read a finished `label` folder. Raises `InputError` or `ArtifactError`."""
    manifest, rows = load_rows(folder, stage=STAGE)
    return Judgements([Judgement.from_row(row) for row in rows], manifest.summary)
