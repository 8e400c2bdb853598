"""What benchmarks share whose replies are judged as in `label`: by known answers, or by a model at an endpoint."""

from collections.abc import Sequence

from hneurons.answers.judges.alias import VERSION
from hneurons.answers.judges.known_error import describe_error
from hneurons.answers.judges.probability import DEFAULT_THRESHOLDS, Thresholds
from hneurons.answers.judging import JUDGES, AliasJudge
from hneurons.benchmarks.benchmark import Benchmark
from hneurons.core.types import Judgement, Question, Response
from hneurons.models.endpoint import Endpoint


class JudgedBenchmark(Benchmark):
    """A benchmark whose replies answer questions. `thresholds` are those of the `alias` judge."""

    rule = "alias"
    thresholds: Thresholds = DEFAULT_THRESHOLDS

    def judge(self, pairs: Sequence[tuple[Question, Response]], endpoint: Endpoint | None) -> list[Judgement]:
        """Judge by `llm` where there is an endpoint, else by `alias`."""
        if endpoint is not None:
            return JUDGES.get("llm").judge(pairs, endpoint)
        return AliasJudge.judge_at(pairs, self.thresholds)

    def judge_name(self, endpoint: Endpoint | None) -> str:
        """Who grades."""
        return "alias" if endpoint is None else f"llm: {endpoint.model}"

    def judge_inputs(self, endpoint: Endpoint | None) -> dict[str, str]:
        """The alias judge's version and thresholds."""
        if endpoint is not None:
            return {}
        at = self.thresholds
        return {"alias": f"version {VERSION}, incorrect to {at.incorrect:g}, correct from {at.correct:g}"}

    def known_error(self, endpoint: Endpoint | None) -> str:
        """The judge's known error at its setting, or that it was not measured."""
        return describe_error("alias", self.thresholds) if endpoint is None else describe_error("llm")
