"""The recorded run: one row per (benchmark item, condition, alpha). Benchmarks write it, audits read it.

A run is a folder with `manifest.json` (stage `run`; its settings are a `RunSettings`) and `rows.jsonl` (one `Record`
a line). A *condition* is what was scaled (the selected neurons, a random set, a steering vector); *alpha* is how much.
The alpha that changes nothing is a setting, named `no_op`: 1 where alpha multiplies, 0 where it is added.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from hneurons.core.rows import Row, field_row

RUN_STAGE = "run"
NOT_ASKED = "first answer not right"
"""Why a record without outcome is of no reply that was missed: its item does not belong to what is measured."""
Scaling = Literal["multiplicative", "additive"]


@dataclass(frozen=True, slots=True)
class Condition(Row):
    """What was changed. `kind` is "selected" or starts with "random"; controls belong to the same `family`."""

    kind: str = "selected"
    family: str = ""

    @property
    def is_control(self) -> bool:
        return self.kind.startswith("random")


@dataclass(frozen=True, slots=True)
class RunSettings(Row):
    """What holds for a whole run.

    - `outcome`: what outcome = 1 means, in words.
    - `no_op`: the alpha that changes nothing.
    - `max_tokens`: the longest reply that could be generated.
    - `split`: "selection" where something was tuned on these very items, "held_out" where nothing was, "" unknown.
    """

    benchmark: str
    outcome: str = "compliance"
    no_op: float = 1.0
    scaling: Scaling = "multiplicative"
    conditions: dict[str, Condition] = field(default_factory=dict)
    max_tokens: int | None = None
    split: str = ""
    kind: str = "outcomes"

    @property
    def ablation(self) -> float | None:
        """The alpha that removes the component: 0 where alpha multiplies, none where it is added."""
        return 0.0 if self.scaling == "multiplicative" else None


@dataclass(frozen=True, slots=True)
class Record(Row):
    """One item under one condition at one alpha. Every field but the first three may be missing (None).

    - `outcome`: whether the measured behaviour happened: 1.0 or 0.0, or a share such as MC2. None means unscored.
    - `choice`: the option that the parser read; "" where it found none.
    - `key`: the option that counts as the behaviour.
    - `parse`: how the reply could be read.
    - `choices`: option label -> text.
    - `aliases`: accepted answers.
    - `chars`, `n_tokens`: length of the response.
    - `scaled_tokens`: the number of tokens that a policy scaled, or would have scaled where alpha changes nothing.
    - `finish_reason`: "stop" or "length".
    - `judge`: the judge's own word.
    - `grade`: CORRECT, INCORRECT or NOT_ATTEMPTED.
    - `loglik`, `true_options`: summed log-likelihood of each option in nats; 1 for a true option, else 0.
    - `rubric`: graded scores by name.
    - `spans`: [start, end, valid] character offsets of the graded passages.
    - `group`: items that are not independent, such as one goal under several templates.
    - `error`: why the reply is unscored.
    """

    id: str
    condition: str
    alpha: float
    outcome: float | None = None
    choice: str | None = None
    key: str | None = None
    parse: str | None = None
    choices: dict[str, str] | None = None
    aliases: tuple[str, ...] | None = None
    response: str | None = None
    digest: str | None = None
    chars: int | None = None
    n_tokens: int | None = None
    scaled_tokens: int | None = None
    finish_reason: str | None = None
    judge: str | None = None
    grade: str | None = None
    attempted: bool | None = None
    loglik: tuple[float, ...] | None = None
    true_options: tuple[int, ...] | None = None
    option_tokens: tuple[int, ...] | None = None
    rubric: dict[str, Any] | None = None
    spans: tuple[Any, ...] | None = None
    group: str | None = None
    error: str | None = None

    @property
    def cell(self) -> tuple[str, str, float]:
        return (self.condition, self.id, self.alpha)

    def to_row(self) -> dict[str, Any]:
        """The fields that are known."""
        return {name: value for name, value in field_row(self).items() if value is not None}
