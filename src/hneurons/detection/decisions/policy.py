"""A policy: what to do with an answer, by one risk made of its scores. Read from a TOML or JSON file."""

import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hneurons.core.errors import InputError
from hneurons.core.foreign_text import read_foreign_text
from hneurons.core.rows import Row, from_row, load_json
from hneurons.core.seeds import fingerprint
from hneurons.core.wording import did_you_mean, number
from hneurons.detection.assessment import Action, Assessment, probability

PROBABILITY = "probability"


@dataclass(frozen=True, slots=True)
class PolicyStep(Row):
    """The action for a risk below `below`."""

    below: float
    action: Action


@dataclass(frozen=True, slots=True)
class Policy(Row):
    """What to do with an answer.

    - `weights`: score -> weight. The risk is the probability that `offset` plus the weighted scores stand for, in log
      odds. "log_odds" is the detector's. Without weights the risk is the calibrated probability.
    - `steps`: the first whose bound the risk is below gives the action; `otherwise` is for a higher risk.
    - `unscored`: the action for an answer without a score.
    - `void`: the action in place of "answer" where the guarantee is void, which is from a drift alarm on.
    - `guarantee`: "answer" is only for answers that the guarantee lets through; others get the next step's action.
    """

    steps: tuple[PolicyStep, ...]
    otherwise: Action
    unscored: Action = "ask a human"
    void: Action = "ask a human"
    guarantee: bool = False
    weights: dict[str, float] | None = None
    offset: float = 0.0
    name: str = ""

    @property
    def content(self) -> str:
        """16 hex digits of it."""
        return fingerprint(self.to_row())


@dataclass(frozen=True, slots=True)
class Decided(Row):
    """An action, the risk it was taken for (NaN without one), and the reason in words."""

    action: Action
    risk: float
    reason: str


def load_policy(path: str | Path) -> Policy:
    """Read a policy from .toml or .json. Raises `InputError` that names what is wrong in it."""
    path = Path(path)
    text = read_foreign_text(path)
    try:
        row = tomllib.loads(text) if path.suffix == ".toml" else load_json(text)
        policy = from_row(Policy, row)
    except (ValueError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} is no policy ({error}): docs/deciding.md shows one") from error
    bounds = [step.below for step in policy.steps]
    numbers = [policy.offset, *bounds, *(policy.weights or {}).values()]
    if not all(math.isfinite(value) for value in numbers):
        raise InputError(f"{path}: weights, offset and bounds must be finite numbers")
    if not bounds or bounds != sorted(set(bounds)) or not all(0 < bound <= 1 for bound in bounds):
        raise InputError(f"{path}: the bounds of 'steps' must rise and lie above 0 and at most at 1, found {bounds}")
    if policy.weights == {}:
        raise InputError(
            f"{path}: 'weights' is empty: name a score, or leave it out to go by the calibrated probability"
        )
    return policy


def check_policy(policy: Policy, known: Iterable[str], *, calibrated: bool, guaranteed: bool) -> None:
    """Raise `InputError` where a policy asks for a score that is not `known`, a calibration or a guarantee."""
    names = [*known, "log_odds", PROBABILITY]
    for name in policy.weights or ():
        if name not in names:
            raise InputError(f"the policy weighs the score '{name}'{did_you_mean(name, names)}")
    if PROBABILITY in (policy.weights or {PROBABILITY}) and not calibrated:
        raise InputError("the policy goes by the calibrated probability: run 'calibrate' first, or give it weights")
    if policy.guarantee and not guaranteed:
        raise InputError("the policy asks for a guarantee: run 'abstain' first, or set its 'guarantee' to false")


def combine_risk(found: Assessment, policy: Policy) -> float:
    """The risk of one answer by the policy's weights; NaN where it lacks one of the scores."""
    values = {**found.scores, "log_odds": found.log_odds, PROBABILITY: found.probability}
    if policy.weights is None:
        return found.probability
    odds = policy.offset + sum(weight * values.get(name, math.nan) for name, weight in policy.weights.items())
    return probability(odds) if math.isfinite(odds) else math.nan


def decide(found: Assessment, policy: Policy, *, void: bool = False) -> Decided:
    """What the policy does with one assessed answer; `void` says that a drift alarm went off."""
    risk = combine_risk(found, policy)
    if found.problem or math.isnan(risk):
        return Decided(policy.unscored, math.nan, found.problem or "a score that the policy weighs is not there")
    action, reason = policy.otherwise, f"risk {number(risk)} is above all steps"
    for step in policy.steps:
        if risk < step.below and not (step.action == "answer" and policy.guarantee and found.decision != "answer"):
            action, reason = step.action, f"risk {number(risk)} is below {step.below:g}"
            break
    if action == "answer" and void:
        return Decided(policy.void, risk, f"{reason}, but the guarantee is void")
    return Decided(action, risk, reason)
