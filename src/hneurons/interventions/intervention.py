"""What can be done to a model while it runs: the protocol of interventions, and the one that changes nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, Self

from torch import Tensor, nn

from hneurons.interventions.gate import RiskAbove
from hneurons.models.language_model import LanguageModel

Scope = Literal["all", "response"] | int
"""Where to intervene: at all positions; where the response is predicted; or where its first k tokens are."""


class Edit(NamedTuple):
    """A change of one module's input or output (its first, where there are several), made in every forward pass.

    change: takes and returns a tensor [rows, tokens, width], or [rows * tokens, width] in models that flatten it.
    """

    module: nn.Module
    at: Literal["input", "output"]
    change: Callable[[Tensor], Tensor]


class Rows(Protocol):
    """Which condition each row of the present batch has, and at which of its positions."""

    def spread(self, table: Tensor, like: Tensor, neutral: float) -> Tensor:
        """Values of the batch's rows, in a shape that broadcasts to `like`, with `neutral` where nothing acts.

        table: [conditions, k]. like: [rows, tokens, ...] or [rows * tokens, ...]. The result's last dimension is k.
        """


class Intervention(Protocol):
    """A change of what a model computes, at a strength alpha; an immutable value.

    An implementation is one file with one frozen dataclass. `Steer` runs any of them, also different ones in the rows
    of one batch, and takes care of positions, gates and hooks. Sweeps, evaluators and manifests read the rest.
    """

    @property
    def alpha(self) -> float:
        """The strength."""

    @property
    def no_op(self) -> float:
        """The strength that changes nothing: 1 where alpha multiplies, 0 where it is added."""

    @property
    def scope(self) -> Scope:
        """At which positions it acts."""

    @property
    def when(self) -> RiskAbove | None:
        """While which responses it acts; None means all."""

    @property
    def kind(self) -> str:
        """ "selected", or a word that starts with "random" for a control."""

    def at(self, alpha: float) -> Self:
        """The same intervention at another strength. Raises `InputError` for one that makes no sense."""

    def identity(self) -> Any:
        """What determines the change, apart from alpha, scope and gate, as JSON values; manifests fingerprint it."""

    def check_model(self, model: LanguageModel) -> None:
        """Raise `InputError` where it cannot be applied to this model."""

    @classmethod
    def edits(cls, model: LanguageModel, conditions: Sequence[Self | None], rows: Rows) -> list[Edit]:
        """The edits that apply several interventions of this class at once, each in its own rows.

        conditions: None where a condition is of another class, so that its rows are to be left as they are.
        """


@dataclass(frozen=True)
class Untouched:
    """The model as it is: the intervention that changes nothing, at any strength."""

    alpha: float = 1.0
    scope: Scope = "all"
    when: RiskAbove | None = None
    kind: str = "selected"

    @property
    def no_op(self) -> float:
        """Every strength changes nothing."""
        return self.alpha

    def at(self, alpha: float) -> "Untouched":
        """The model as it is."""
        return Untouched(alpha)

    def identity(self) -> None:
        """Nothing."""

    def check_model(self, model: LanguageModel) -> None:
        """Every model will do."""

    @classmethod
    def edits(cls, model: LanguageModel, conditions: Sequence["Untouched | None"], rows: Rows) -> list[Edit]:
        """No edits."""
        return []


def is_no_op(intervention: Intervention) -> bool:
    """Whether it changes nothing at its strength."""
    return intervention.alpha == intervention.no_op


def prompt_reach(intervention: Intervention) -> int | None:
    """How many of the last positions of a prompt it may change; None stands for all.

    The last position of the prompt predicts the first response token, so it belongs to the scope "response". A gate
    stays shut until the first response token has been run.
    """
    if isinstance(intervention, Untouched) or intervention.when is not None:
        return 0
    return None if intervention.scope == "all" else 1
