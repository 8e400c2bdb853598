"""A threshold on scores with a guarantee: exact binomial tests of a fixed sequence of order statistics.

The proof is in docs/deciding.md. Fixed sequences of tests: Bauer 1991; learn then test: Angelopoulos et al. 2022.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hneurons.core.errors import InputError
from hneurons.core.rows import Row
from hneurons.core.seeds import derive_seed

LEAST_TARGET = 1e-6
"""The least precision and confidence that may be asked for; the largest is 1 less this."""
START = 0.15
"""The first test answers at least this share of the answers."""
_POWER = 0.8
_THRESHOLDS = 100
_MOST_ANSWERED = 50_000
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Step(Row):
    """One test: the `answered` lowest log odds, those below `threshold`, of which `errors` are wrong.

    `allowed` errors pass. `bound` is the exact upper confidence bound of the error rate (Clopper and Pearson 1934).
    `reached` says whether all tests before it passed.
    """

    answered: int
    threshold: float
    errors: int
    allowed: int
    bound: float
    reached: bool

    @property
    def passed(self) -> bool:
        return self.reached and self.errors <= self.allowed


class Labels(NamedTuple):
    """How many labelled answers a guarantee needs: without a single error, and at the expected precision.

    The third that is kept apart counts, too.
    """

    without_errors: int
    expected: int


def allowed_errors(answered: int, risk: float, confidence: float) -> int:
    """The most errors among `answered` that show the error rate to be at most `risk`; -1 where none do.

    The largest k with P(Bin(answered, risk) <= k) <= 1 - confidence, which is when the exact upper bound is at most
    `risk`.
    """
    return int(_allowed(np.array([answered]), risk, confidence)[0])


def _allowed(answered: Counts, risk: float, confidence: float) -> Counts:
    from scipy.stats import binom

    level = (1 - confidence) * (1 + 1e-12)
    k = binom.ppf(1 - confidence, answered, risk).astype(np.int64)
    return np.asarray(k - (binom.cdf(k, answered, risk) > level))


def upper_bound(errors: int, answered: int, confidence: float) -> float:
    """The exact one-sided upper confidence bound of a rate (Clopper and Pearson 1934)."""
    return float(_upper_bounds(np.array([errors]), np.array([answered]), confidence)[0])


def _upper_bounds(errors: Counts, answered: Counts, confidence: float) -> Floats:
    from scipy.stats import beta

    bounds = beta.ppf(confidence, errors + 1, np.maximum(answered - errors, 1))
    return np.where(errors >= answered, 1.0, bounds)


def lower_bound(successes: int, n: int, confidence: float) -> float:
    """The exact one-sided lower confidence bound of a rate."""
    return 1 - upper_bound(n - successes, n, confidence)


@lru_cache(maxsize=64)
def sequence_of(n: int, risk: float, confidence: float) -> tuple[tuple[int, int], ...]:
    """The tests as (answered, allowed errors): the least numbers at which one more error is allowed, from `START` on.

    It depends on n, the risk and the confidence alone, and on no label.
    """
    from scipy.stats import binom

    start, level = max(least_answered(risk, confidence), math.ceil(START * n)), (1 - confidence) * (1 + 1e-12)
    numbers, found = np.arange(1, n), list[tuple[int, int]]()
    for allowed in range(n):
        passing = numbers[binom.cdf(allowed, numbers, risk) <= level]
        if not len(passing):
            break
        numbers = numbers[numbers >= passing[0]]
        if passing[0] >= start:
            found.append((int(passing[0]), allowed))
    return tuple(found)


def least_answered(risk: float, confidence: float) -> int:
    """The least number of answers that, all right, show the error rate to be at most `risk`."""
    return max(1, math.ceil(math.log(1 - confidence) / math.log(1 - risk) - 1e-9))


def check_targets(target_precision: float, confidence: float) -> None:
    """Raise `InputError` for a precision or confidence outside of [`LEAST_TARGET`, 1 - `LEAST_TARGET`]."""
    for name, value in (("--target-precision", target_precision), ("--confidence", confidence)):
        if not LEAST_TARGET <= value <= 1 - LEAST_TARGET:
            raise InputError(f"{name} should lie between {LEAST_TARGET:f} and {1 - LEAST_TARGET:f}, found {value:g}")


def run_sequence(log_odds: Floats, wrong: Bools, risk: float, confidence: float) -> list[Step]:
    """All tests of the sequence on labelled answers, those behind the first that fails not `reached`.

    Answers with equal log odds are ordered by a seeded draw. Only log odds below a threshold are answered, so that of
    those equal to it none is.
    """
    order = np.lexsort((_tie_breaks(len(log_odds)), log_odds))
    ordered, errors = log_odds[order], np.cumsum(wrong[order], dtype=np.int64)
    tests = sequence_of(len(ordered), risk, confidence)
    places = np.array([answered for answered, _ in tests], dtype=np.int64)
    made = errors[places - 1]
    found, reached = list[Step](), True
    for (answered, allowed), wrongs, bound in zip(
        tests, made.tolist(), _upper_bounds(made, places, confidence).tolist(), strict=True
    ):
        found.append(Step(answered, float(ordered[answered]), wrongs, allowed, bound, reached))
        reached = found[-1].passed
    return found


def fix_thresholds(apart: Floats) -> Floats:
    """At most a hundred rising thresholds: quantiles, from `START` on, of log odds that choose nothing else."""
    return np.unique(np.quantile(apart, np.linspace(START, 1, _THRESHOLDS))) if len(apart) else np.zeros(0)


def run_thresholds(log_odds: Floats, wrong: Bools, thresholds: Floats, risk: float, confidence: float) -> list[Step]:
    """As `run_sequence`, at rising thresholds that were fixed before any of these answers was seen.

    This is MAPIE's learn-then-test with a fixed sequence (Angelopoulos et al. 2022). It needs no assumption about how
    the error rate grows, and finds a threshold less often.
    """
    order = np.argsort(log_odds)
    errors = np.concatenate([[0], np.cumsum(wrong[order], dtype=np.int64)])
    answered = np.searchsorted(log_odds[order], thresholds, side="left").astype(np.int64)
    made = errors[answered]
    bounds = np.where(answered > 0, _upper_bounds(made, answered, confidence), 1.0)
    allowed = np.where(answered > 0, _allowed(np.maximum(answered, 1), risk, confidence), -1)
    found, reached = list[Step](), True
    for row in zip(
        answered.tolist(), thresholds.tolist(), made.tolist(), allowed.tolist(), bounds.tolist(), strict=True
    ):
        found.append(Step(*row, reached))
        reached = found[-1].passed
    return found


def _tie_breaks(n: int) -> Floats:
    return np.random.default_rng(derive_seed("ties", n)).random(n)


def last_passed(steps: list[Step]) -> Step | None:
    """The test that answers most of those that passed; None where the first failed or there is none."""
    return next((step for step in reversed(steps) if step.passed), None)


def labels_needed(target_precision: float, confidence: float, *, coverage: float, precision: float) -> Labels:
    """Labelled answers that a guarantee needs, before any is labelled, with the third that is kept apart.

    `coverage` is the share of answers that should be answered, `precision` the share of right ones expected among
    them. With `expected` labels a test at that coverage passes in four of five draws. Further tests before it make it
    somewhat rarer.

    Raises `InputError` for targets that `check_targets` refuses, for shares outside of (0, 1], and for a precision
    that is not above the target.
    """
    from scipy.stats import binom

    check_targets(target_precision, confidence)
    if not (0 < coverage <= 1 and 0 < precision <= 1):
        raise InputError("--expected-coverage and --expected-precision should lie above 0 and be at most 1")
    if precision <= target_precision:
        raise InputError(
            f"a precision of {precision:g} gives no guarantee of {target_precision:g}, however many labels there are: "
            "expect more than the target, or lower it"
        )
    risk = 1 - target_precision
    least = least_answered(risk, confidence)
    first = least
    while first <= _MOST_ANSWERED:
        answered = np.arange(first, 2 * first)
        power = binom.cdf(_allowed(answered, risk, confidence), answered, 1 - precision)
        if (power >= _POWER).any():
            enough = int(answered[np.argmax(power >= _POWER)])
            return Labels(*(math.ceil(1.5 * answers / coverage - 1e-9) for answers in (least, enough)))
        first *= 2
    raise InputError(
        f"an expected precision of {precision:g} is too close to the target of {target_precision:g}: more than "
        f"{_MOST_ANSWERED:,} answered labels would be needed"
    )
