"""What is asked and said about answers that exist: an answer, its assessment by a detector, and many of them."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hneurons.core.artifacts import Manifest
from hneurons.core.rows import Row
from hneurons.core.showing import data_frame, html_table, one_line
from hneurons.core.types import FinishReason, Span
from hneurons.core.wording import count, number
from hneurons.models.endpoint import Message

if TYPE_CHECKING:
    from pandas import DataFrame

Decision = Literal["answer", "abstain"]
Action = Literal["answer", "abstain", "retrieve", "ask a human"]
SHOWN = 20
"""Answers in a table of them."""


@dataclass(frozen=True, slots=True)
class Answer(Row):
    """An answer to be scored, whoever wrote it.

    - `question`: the question alone; instruction and few-shot examples are the detector's own.
    - `context`: what the model was given to read before the question.
    - `messages`: the whole conversation instead, ending with the user's turn; nothing is then added to it.
    - `token_ids`: the tokens of the response as the model generated them. Without them the text is encoded here.
    """

    id: str
    question: str
    response: str
    context: str = ""
    messages: tuple[Message, ...] = ()
    token_ids: tuple[int, ...] = ()
    finish_reason: FinishReason = "stop"


@dataclass(frozen=True, slots=True)
class TokenRisk(Row):
    """One token of a response: its characters, the log odds were it the whole answer, and its log-probability."""

    start: int
    end: int
    log_odds: float
    logprob: float


@dataclass(frozen=True, slots=True)
class Assessment(Row):
    """What a detector and cheaper scores say of one answer.

    - `log_odds`: the detector's, on the answer's tokens; NaN where `problem` says why the answer has no score.
    - `risk`: the probability of a made-up answer that these log odds stand for. It is not calibrated: the detector was
      fitted on as many wrong answers as right ones.
    - `made_up`: whether the log odds reach the detector's threshold; None without a score.
    - `span`: the characters of the response that were taken for the answer.
    - `tokens`: every token of the response.
    - `scores`: other scores by name, higher meaning more likely made up.
    - `probability`: the calibrated probability of a wrong answer; NaN where the detector was not calibrated.
    - `decision`: whether to give the answer or to abstain; None where no guarantee was asked for.
    - `contributions`: what each neuron of the detector adds to its intercept, which together give the log odds.
    - `action`: what a policy does with the answer; None without a policy.
    - `own_tokens`: whether the response came with token ids; else its text was encoded here.
    """

    id: str
    log_odds: float
    risk: float
    made_up: bool | None
    span: Span | None
    tokens: tuple[TokenRisk, ...]
    scores: dict[str, float]
    own_tokens: bool
    problem: str = ""
    probability: float = math.nan
    decision: Decision | None = None
    contributions: tuple[float, ...] = ()
    action: Action | None = None

    def __repr__(self) -> str:
        if self.made_up is None:
            return one_line(self, self.id, f"no score: {self.problem}")
        calibrated = f"probability {number(self.probability, 2)}" if math.isfinite(self.probability) else ""
        odds = f"risk {number(self.risk, 2)}", f"log odds {number(self.log_odds, 2, sign=True)}"
        said = "likely made up" if self.made_up else "not called made up"
        return one_line(self, self.id, said, calibrated, *odds, count(len(self.tokens), "token"))


def probability(log_odds: float) -> float:
    """The probability that log odds stand for."""
    return 0.5 * (1 + math.tanh(log_odds / 2))


class Assessments(NamedTuple):
    """Assessments in the order of the answers, and the manifest with their counts."""

    rows: list[Assessment]
    manifest: Manifest

    def __repr__(self) -> str:
        lacking = sum(row.made_up is None for row in self.rows)
        made_up = f"{sum(row.made_up is True for row in self.rows)} likely made up"
        return one_line(self, count(len(self.rows), "answer"), made_up, f"{lacking} without a score" if lacking else "")

    def _repr_html_(self) -> str:
        said: dict[bool | None, str] = {True: "likely made up", False: "not called made up"}
        rows = [
            (row.id, number(row.risk, 2), number(row.log_odds, 2, sign=True), said.get(row.made_up, row.problem))
            for row in self.rows[:SHOWN]
        ]
        caption = f"{count(len(self.rows), 'answer')}, of which {len(rows)} are shown"
        return html_table(caption, ("id", "risk", "log odds", "verdict"), rows)

    def to_pandas(self) -> "DataFrame":
        """One row an answer, in the order of the answers. Needs the extra `pandas`.

        Columns: id (the index), decision, probability, risk, log_odds, made_up, start and end of the short answer in
        characters, own_tokens, problem, and one for each other score. What an answer does not have is NaN or None.
        """
        names = ("id", "decision", "probability", "risk", "log_odds", "made_up", "own_tokens", "problem")
        found: dict[str, list[Any]] = {name: [getattr(row, name) for row in self.rows] for name in names}
        for place, name in enumerate(("start", "end")):
            found[name] = [math.nan if row.span is None else row.span[place] for row in self.rows]
        for name in dict.fromkeys(name for row in self.rows for name in row.scores):
            found[name] = [row.scores.get(name, math.nan) for row in self.rows]
        return data_frame(found, index="id")
