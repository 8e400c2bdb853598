"""Stage `label`: responses -> verdicts, by a judge from the registry."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from hneurons.answers.judges import alias as alias_judge
from hneurons.answers.judges import llm as llm_judge
from hneurons.answers.judges.asking import mute_judge
from hneurons.answers.judges.known_error import describe_error
from hneurons.answers.judges.probability import DEFAULT_THRESHOLDS, Thresholds
from hneurons.core.artifacts import RowStore, load_rows
from hneurons.core.errors import InputError
from hneurons.core.files import stored_errors
from hneurons.core.progress import progress
from hneurons.core.registry import Registry
from hneurons.core.seeds import fingerprint
from hneurons.core.showing import one_line
from hneurons.core.types import Judgement, Question, Response, Verdict, identify
from hneurons.models.endpoint import Endpoint

STAGE = "verdicts"


class Judge:
    """A way to judge responses, registered by name as a class; the docstring's first line is shown to users.

    `version` changes whenever a verdict may; `chunk` responses are committed together. A judge whose verdicts rest on a
    probability has the method `judge_at`, which takes its thresholds.
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
    """Weighs a reply against the known answers by rules and a calibrated probability; text only."""

    version, chunk = alias_judge.VERSION, 2048

    @staticmethod
    def judge(pairs: Sequence[tuple[Question, Response]], endpoint: Endpoint | None) -> list[Judgement]:
        return AliasJudge.judge_at(pairs, DEFAULT_THRESHOLDS)

    @staticmethod
    def judge_at(pairs: Sequence[tuple[Question, Response]], thresholds: Thresholds) -> list[Judgement]:
        """Judge at given thresholds of the probability of being right."""
        judged = ((r, alias_judge.judge_alias(question, r.text, thresholds=thresholds)) for question, r in pairs)
        return [Judgement(r.question_id, r.sample, found.verdict, found.reason) for r, found in judged]


@JUDGES.register("llm")
class LLMJudge(Judge):
    """Asks a model at an OpenAI-compatible endpoint."""

    version, chunk, needs_endpoint = llm_judge.VERSION, 32, True

    @staticmethod
    def judge(pairs: Sequence[tuple[Question, Response]], endpoint: Endpoint | None) -> list[Judgement]:
        assert endpoint is not None
        return llm_judge.judge_with_llm(pairs, endpoint)


def choose_thresholds(judge: str, threshold: float | None) -> Thresholds | None:
    """The thresholds of a judge that calls a reply incorrect up to `threshold`; None stands for those of its own.

    Raises `InputError` for an unknown judge, a judge that has no thresholds, and a number that is none.
    """
    if threshold is None:
        return None
    if not issubclass(JUDGES.get(judge), AliasJudge):
        raise InputError(f"the judge '{judge}' has no threshold: leave it out, or take the judge 'alias'")
    return replace(DEFAULT_THRESHOLDS, incorrect=threshold)


class Judgements(NamedTuple):
    """Judgements in the order of the responses, and the stage's counts."""

    judgements: list[Judgement]
    summary: dict[str, Any]

    def __repr__(self) -> str:
        found = Counter(judgement.verdict for judgement in self.judgements)
        return one_line(self, f"{len(self.judgements)} in all", *(f"{n} {verdict}" for verdict, n in found.items()))


def label_responses(
    questions: Sequence[Question],
    responses: Sequence[Response],
    *,
    judge: str = "alias",
    thresholds: Thresholds | None = None,
    endpoint: Endpoint | None = None,
    given: Mapping[str, Verdict] | None = None,
    out: Path | None = None,
) -> Judgements:
    """Judge every response against its question. Resumable with `out`.

    `given` are verdicts by response id that came with the responses: they stand, and the judge is not asked.

    The summary counts responses, each verdict, and truncated responses per verdict, and says the judge's known error.
    `thresholds` are those of the `alias` judge: between them a reply is unscored.

    Raises `InputError` for an unknown judge, a judge without the endpoint it needs, thresholds for a judge that has
    none, or a response whose question is not among `questions`. Raises `EndpointError` when the endpoint is lost, with
    all finished chunks kept, or when its judge never gives a verdict.
    """
    how, given = JUDGES.get(judge), given or {}
    if how.needs_endpoint and endpoint is None and any(response.id not in given for response in responses):
        raise InputError(f"the judge '{judge}' needs an endpoint: give its url and model")
    if thresholds is not None and not issubclass(how, AliasJudge):
        raise InputError(f"the judge '{judge}' has no thresholds: leave them out, or take the judge 'alias'")
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
    if issubclass(how, AliasJudge):
        applied = thresholds or DEFAULT_THRESHOLDS
        settings["thresholds"] = [applied.incorrect, applied.correct]
    asked = {response.question_id for response in responses}
    inputs = {
        "questions": fingerprint([question.to_row() for question in questions if question.id in asked]),
        "responses": identify(responses),
        **({"given": fingerprint(dict(given))} if given else {}),
    }
    earlier = {"responses": fingerprint([response.to_row() for response in responses])}
    chunks = range(0, len(responses), how.chunk)
    store = RowStore(out, stage=STAGE, settings=settings, inputs=inputs, expected=len(chunks), earlier_inputs=earlier)
    if not store.complete:
        with progress("label", len(responses), done=len(store.rows)) as advance:
            for start in chunks[store.done :]:
                part = responses[start : start + how.chunk]
                pairs = [(by_id[response.question_id], response) for response in part if response.id not in given]
                if thresholds is not None and issubclass(how, AliasJudge):
                    judged = how.judge_at(pairs, thresholds)
                else:
                    judged = how.judge(pairs, endpoint)
                by_judge = {judgement.id: judgement for judgement in judged}
                store.commit([(by_judge.get(r.id) or _given(r, given)).to_row() for r in part])
                advance(len(part))
        judgements = [Judgement.from_row(row) for row in store.rows]
        if how.needs_endpoint and endpoint is not None:
            _demand_a_verdict(judgements, endpoint.model)
        known = describe_error(judge, thresholds or DEFAULT_THRESHOLDS)
        counts = _summary(responses, judgements)
        if given:
            taken = counts["given"] = sum(response.id in given for response in responses)
            said = f"{taken:,} of {len(responses):,} verdicts came with the answers; their error is not known."
            known = said if taken == len(responses) else f"{said} {known}"
        store.finish(counts | {"known_error": known})
    return Judgements([Judgement.from_row(row) for row in store.rows], store.manifest.summary)


def _given(response: Response, given: Mapping[str, Verdict]) -> Judgement:
    return Judgement(response.question_id, response.sample, given[response.id], "came with the answer")


def _demand_a_verdict(judgements: Sequence[Judgement], model: str) -> None:
    """Raises `EndpointError` where a judge was asked and never gave a verdict."""
    unread = [j.reason for j in judgements if j.verdict == "unscored" and j.reason.startswith(llm_judge.UNREADABLE)]
    if unread and all(judgement.verdict == "unscored" for judgement in judgements):
        raise mute_judge(model, len(unread), unread[0].removeprefix(llm_judge.UNREADABLE))


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
    with stored_errors(folder):
        return Judgements([Judgement.from_row(row) for row in rows], manifest.summary)
