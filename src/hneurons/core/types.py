"""The values that cross borders between stages. All are frozen, and `to_row` and `from_row` round-trip them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from hneurons.core.rows import Row, field_row
from hneurons.core.seeds import fingerprint
from hneurons.core.showing import one_line
from hneurons.core.wording import count

Verdict = Literal["correct", "incorrect", "abstained", "unscored"]
FinishReason = Literal["stop", "length"]
Span = tuple[int, int]
"""Half-open [start, end) in characters of the response text, or in tokens of the response."""


@dataclass(frozen=True, slots=True)
class Question(Row):
    """A factual question. `answers` are acceptable aliases; `answerable=False` marks one about something invented.

    `relation` names the template or kind the question was made from, if any: classes are balanced within it. `fact`
    names what several questions ask in different words, if any (a capital and whose capital it is): such questions are
    never split between training and test.
    """

    id: str
    text: str
    answers: tuple[str, ...] = ()
    source: str = ""
    domain: str = ""
    relation: str = ""
    answerable: bool = True
    fact: str = ""

    @property
    def group(self) -> str:
        """What stays on one side of every split and is drawn whole by every bootstrap."""
        return self.fact or self.id

    def to_row(self) -> dict[str, Any]:
        row = field_row(self)
        return row if self.fact else {k: v for k, v in row.items() if k != "fact"}


@dataclass(frozen=True, slots=True)
class Response(Row):
    """One sampled answer.

    `token_ids` are the generated ids, the stop token included if one was generated (`finish_reason="stop"`);
    `logprobs` the natural-log probabilities of these tokens at temperature 1 without truncation. Both are empty
    where an endpoint does not give them. `entropies` are those of the distributions that the tokens were drawn from, in
    nats, likewise at temperature 1; empty, too, in responses of earlier versions. An endpoint's are lower bounds, from
    its likeliest tokens. `token_texts` is how an endpoint wrote each token. `text` is the decoded text without the stop
    token.
    """

    question_id: str
    sample: int
    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    finish_reason: FinishReason = "stop"
    entropies: tuple[float, ...] = ()
    token_texts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return one_line(self, self.id, count(len(self.token_ids), "token"), self.finish_reason, repr(self.text))

    @property
    def id(self) -> str:
        return f"{self.question_id}#{self.sample}"

    def to_row(self) -> dict[str, Any]:
        absent = {name for name in ("entropies", "token_texts") if not getattr(self, name)}
        return {name: value for name, value in field_row(self).items() if name not in absent}


@dataclass(frozen=True, slots=True)
class Judgement(Row):
    """The verdict on one response and the reason: the alias that matched, or what the judge said."""

    question_id: str
    sample: int
    verdict: Verdict
    reason: str = ""

    @property
    def id(self) -> str:
        return f"{self.question_id}#{self.sample}"


@dataclass(frozen=True, slots=True)
class Example(Row):
    """A judged response chosen for fitting or evaluation, with the place of its answer once located.

    `char_span` counts characters of `response.text`, `token_span` tokens of `response.token_ids`; None before
    `locate` and where no answer was found.
    """

    question: Question
    response: Response
    verdict: Verdict
    split: Literal["train", "test"] = "train"
    char_span: Span | None = None
    token_span: Span | None = None

    def __repr__(self) -> str:
        said = self.response.text if self.char_span is None else self.response.text[slice(*self.char_span)]
        return one_line(self, self.id, self.verdict, self.split, f"{said!r} to {self.question.text!r}")

    @property
    def id(self) -> str:
        return self.response.id

    @property
    def hallucinated(self) -> bool:
        """The positive class: an answer that is wrong."""
        return self.verdict == "incorrect"


def identify(values: Sequence[Question | Response | Judgement | Example]) -> str:
    """16 hex digits of what the values say, by which a stage knows its inputs again.

    Log-probabilities and entropies are left out, and so is how an endpoint wrote its tokens. In their last digit they
    depend on the threads and on how many rows run at a time, so the same answers would give another identity.
    """
    rows = [value.to_row() for value in values]
    for row in rows:
        for name in ("logprobs", "entropies", "token_texts"):
            row.get("response", row).pop(name, None)
    return fingerprint(rows)


@dataclass(frozen=True, slots=True)
class ModelIdentity(Row):
    """What a neuron index is worth only together with: two models with equal identity have the same neurons.

    `weights` is two digests joined by a hyphen: of the down-projections, which is all that earlier versions knew, and
    of every weight of the decoder in its place.
    """

    name: str
    architecture: str
    layers: int
    neurons: int
    hidden_size: int
    config: str
    tokenizer: str
    weights: str

    def differences(self, other: Self) -> list[str]:
        """Fields, the name aside, in which `other` differs, as readable text."""
        mine, theirs = asdict(self), asdict(other)
        alike = {"name", "weights"} if self.same_weights(other) else {"name"}
        return [f"{k}: {mine[k]} against {theirs[k]}" for k in mine if k not in alike and mine[k] != theirs[k]]

    def same_weights(self, other: Self) -> bool:
        """Whether both hold the same weights, as far as the older of the two identities tells."""
        mine, theirs = self.weights.split("-"), other.weights.split("-")
        return all(a == b for a, b in zip(mine, theirs, strict=False))
