"""How often a judge's verdicts are wrong, as measured on answers that people have judged."""

from dataclasses import dataclass

from hneurons.answers.judges.probability import DEFAULT_THRESHOLDS, Thresholds, fitted
from hneurons.core.stats import Estimate
from hneurons.core.wording import percent


@dataclass(frozen=True, slots=True)
class ClassError:
    """The error of one verdict: `wrong` of `n` judged otherwise by people.

    `low` and `high` bound the share in 95% of draws of questions; `share` is the part of all answers with this verdict.
    """

    n: int
    wrong: int
    low: float
    high: float
    share: float

    @property
    def error(self) -> Estimate:
        """The share of wrong verdicts."""
        return Estimate(self.wrong / self.n, self.low, self.high, self.n)


@dataclass(frozen=True, slots=True)
class KnownError:
    """The measured errors of a judge at one setting, and on what they were measured."""

    correct: ClassError
    incorrect: ClassError
    on: str

    def sentence(self) -> str:
        """One sentence for reports."""
        parts = (
            f"{verdict} is wrong in {percent(e.error, unit='%')} of {e.n:,}"
            for verdict, e in (("'correct'", self.correct), ("'incorrect'", self.incorrect))
        )
        decided = 100 * (self.correct.share + self.incorrect.share)
        return f"Known error of this judge: {' and '.join(parts)} verdicts, with {decided:.0f}% decided ({self.on})."


def known_error(judge: str, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> KnownError | None:
    """The measured error of a judge at a setting; None where it was never measured.

    A threshold between two measured ones is taken for the looser, whose error is larger. Of one looser than all that
    were measured nothing is known.
    """
    if judge != "alias":
        return None
    measured = fitted()["measured"]
    looser = {
        "correct": [row for row in measured["correct"] if row["threshold"] <= thresholds.correct],
        "incorrect": [row for row in measured["incorrect"] if row["threshold"] >= thresholds.incorrect],
    }
    if not all(looser.values()):
        return None
    rows = {"correct": looser["correct"][-1], "incorrect": looser["incorrect"][0]}
    errors = {
        verdict: ClassError(row["n"], row["wrong"], row["low"], row["high"], row["n"] / measured["answers"])
        for verdict, row in rows.items()
    }
    return KnownError(errors["correct"], errors["incorrect"], measured["on"])


def describe_error(judge: str, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> str:
    """What a report says about a judge's errors."""
    known = known_error(judge, thresholds)
    if known is not None:
        return known.sentence()
    at = f" at this setting (incorrect to {thresholds.incorrect:g}, correct from {thresholds.correct:g})"
    return f"The error of the judge '{judge}' has not been measured{at if judge == 'alias' else ''}."
