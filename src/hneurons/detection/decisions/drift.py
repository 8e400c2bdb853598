"""Are new answers drawn like those that a guarantee rests on? A sequential test that may be looked at all the time.

Under exchangeability the rank of every new value, among the reference and the new values before it, is uniform and
independent of the ranks before it (Vovk et al. 2005). Bets on these ranks then multiply to a test martingale. By
Ville's inequality it ever reaches 1 / d with probability at most d.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hneurons.core.rows import Row
from hneurons.core.seeds import derive_seed
from hneurons.core.wording import count, number

FALSE_ALARM = 0.05
"""The largest probability of an alarm, however long one looks, where nothing has changed."""
LEVEL = FALSE_ALARM / 2
"""That of each of the two tests, of scores and of contributions."""
LEAST_REFERENCE = 20
"""Answers of the reference below which there is no alarm."""
_BETS = ((1, 2), (2, 1), (1, 4), (4, 1), (1, 1.4), (1.4, 1), (2, 2), (4, 4), (0.6, 0.6), (1, 10), (10, 1))
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reference(Row):
    """The log odds of answers that a guarantee rests on, and how unusual the contributions of their neurons are.

    - `centre`, `spread`: mean and standard deviation of each neuron's contribution to the log odds, on answers apart
      from the others. Neurons that never differ there have a spread of 0 and are left out.
    - `distances`: of the answers of `log_odds`, as `distance` measures them.

    All three are empty where contributions are not known.
    """

    log_odds: tuple[float, ...]
    centre: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    distances: tuple[float, ...] = ()

    def distance(self, contributions: Sequence[float]) -> float:
        """The mean, over neurons, of the distance from the centre in spreads; NaN where it is not known."""
        if not self.centre or len(contributions) != len(self.centre):
            return float("nan")
        return float(_distances(np.array([contributions]), np.array(self.centre), np.array(self.spread))[0])


def make_reference(log_odds: Floats, contributions: Floats | None, apart: NDArray[np.bool_]) -> Reference:
    """A reference of the answers that are not `apart` [rows]; those apart give centre and spread.

    contributions: float64 [rows, neurons], or None.
    """
    own = tuple(log_odds[~apart].tolist())
    if contributions is None or apart.sum() < LEAST_REFERENCE:
        return Reference(own)
    centre, spread = contributions[apart].mean(axis=0), contributions[apart].std(axis=0)
    if not (spread > 0).any():
        return Reference(own)
    distances = _distances(contributions[~apart], centre, spread)
    return Reference(own, tuple(centre.tolist()), tuple(spread.tolist()), tuple(distances.tolist()))


def _distances(contributions: Floats, centre: Floats, spread: Floats) -> Floats:
    used = spread > 0
    return np.asarray((np.abs(contributions - centre)[:, used] / spread[used]).mean(axis=1))


@dataclass(frozen=True, slots=True)
class Drift(Row):
    """What a monitor has seen.

    - `scores`, `contributions`: the largest wealth of the bets on either; NaN where they are not known.
    - `since`: the number of the answer at which one of them reached 1 / `LEVEL` and raised the alarm; 0 without one.
    """

    answers: int
    scores: float
    contributions: float
    since: int

    @property
    def evidence(self) -> float:
        """The larger wealth of the two."""
        return float(np.nanmax([1.0, self.scores, self.contributions]))

    @property
    def alarm(self) -> bool:
        return self.since > 0


class Seen(NamedTuple):
    """A new answer, as a monitor reads it."""

    log_odds: float
    contributions: Sequence[float] = ()


class DriftMonitor:
    """Reads new answers one by one, in the order in which they come. `state` may be read at any time."""

    def __init__(self, reference: Reference, *, seed: int = 0) -> None:
        self.reference = reference
        known = {"scores": reference.log_odds, "contributions": reference.distances}
        self._bets: dict[Literal["scores", "contributions"], _Bets] = {
            name: _Bets(values, derive_seed("drift", seed, name))  # type: ignore[misc]
            for name, values in known.items()
            if len(values) >= LEAST_REFERENCE
        }
        self._answers = self._since = 0

    @property
    def works(self) -> bool:
        """Whether the reference is large enough to tell anything."""
        return bool(self._bets)

    def read(self, answers: Iterable[Seen]) -> Drift:
        """Take further answers in, and say what is known after them."""
        for answer in answers:
            self._answers += 1
            values = {"scores": answer.log_odds, "contributions": self.reference.distance(answer.contributions)}
            wealths = [bets.take(values[name]) for name, bets in self._bets.items()]
            if not self._since and max(wealths, default=1.0) >= 1 / LEVEL:
                self._since = self._answers
        return self.state

    @property
    def state(self) -> Drift:
        most = {name: self._bets[name].most if name in self._bets else float("nan") for name in _KINDS}
        return Drift(self._answers, most["scores"], most["contributions"], self._since)


_KINDS: tuple[Literal["scores", "contributions"], ...] = ("scores", "contributions")


class _Bets:
    """The mean wealth of some fixed bets, each a beta density of the rank."""

    def __init__(self, reference: Sequence[float], seed: int) -> None:
        self._known = np.sort(np.asarray(reference, dtype=np.float64))
        self._rng = np.random.default_rng(seed)
        self._log = np.zeros(len(_BETS))
        self.most = self.wealth = 1.0

    def take(self, value: float) -> float:
        """The wealth after one more value; a value that is not known changes nothing."""
        from scipy.special import betaln

        if np.isnan(value):
            return self.wealth
        below, upto = np.searchsorted(self._known, value, "left"), np.searchsorted(self._known, value, "right")
        # Ties are broken by lot, so that the rank is uniform whatever the distribution.
        place = float(below + self._rng.random() * (upto - below + 1)) / (len(self._known) + 1)
        rank = min(max(place, 1e-12), 1 - 1e-12)
        a, b = np.array(_BETS, dtype=np.float64).T
        self._log += (a - 1) * np.log(rank) + (b - 1) * np.log1p(-rank) - betaln(a, b)
        self._known = np.insert(self._known, below, value)
        self.wealth = float(np.exp(np.minimum(self._log, 600)).mean())
        self.most = max(self.most, self.wealth)
        return self.wealth


def describe_drift(found: Drift, data: str) -> str:
    """In one sentence whether new answers are like those of `data`, and what follows for the guarantee."""
    if found.alarm:
        return (
            f"These answers are not drawn like those of {data}: the alarm went off at answer {found.since:,} of "
            f"{found.answers:,}. The guarantee is void for them."
        )
    return (
        f"Nothing was seen that tells these {count(found.answers, 'answer')} from those of {data} (evidence "
        f"{number(found.evidence, 1)}, alarm at {1 / LEVEL:g})."
    )
