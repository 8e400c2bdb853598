"""Populations of scores and labels whose true risk is known at every threshold, and abstention simulated on them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from hneurons.detection.decisions.fixed_sequence import last_passed, run_sequence

Rule = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Population:
    """Scores are standard normal; an answer is wrong with probability expit(offset + slope s).

    Above `bend`, if it is given, only with a tenth of that, so that the risk falls again.
    """

    offset: float
    slope: float
    bend: float = math.inf

    def wrong(self, s: np.ndarray) -> np.ndarray:
        p = expit(self.offset + self.slope * s)
        return np.asarray(np.where(s > self.bend, 0.1 * p, p))

    def draw(self, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        s = rng.normal(size=n)
        return s, rng.random(n) < self.wrong(s)

    def at(self, threshold: float) -> tuple[float, float]:
        """(coverage, risk) of the answers with scores below a threshold."""
        places, coverage, risk = self._table
        return float(np.interp(threshold, places, coverage)), float(np.interp(threshold, places, risk))

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        places = np.linspace(-8, 8, 64_001)
        density = np.exp(-places * places / 2)
        mass = np.cumsum(density)
        return places, mass / mass[-1], np.cumsum(density * self.wrong(places)) / mass


CLEAR, WEAK = Population(-0.5, 2.5), Population(-1.5, 1.0)
FALLING = Population(-0.3, 1.2, bend=-0.7)


class Simulated(NamedTuple):
    """Shares of draws: in which the risk exceeds the one allowed, in which a threshold is found; and mean coverage."""

    violations: float
    found: float
    coverage: float


def fixed_sequence(log_odds: np.ndarray, wrong: np.ndarray) -> float:
    """The threshold of the fixed sequence at a risk of 0.1 with confidence 0.9; NaN where there is none."""
    best = last_passed(run_sequence(log_odds, wrong, 0.1, 0.9))
    return math.nan if best is None else best.threshold


def simulate(population: Population, n: int, *, draws: int, rule: Rule = fixed_sequence) -> Simulated:
    """Choose a threshold on `n` labels `draws` times and look up what it truly does."""
    thresholds = [rule(*population.draw(n, seed)) for seed in range(draws)]
    found = [population.at(threshold) for threshold in thresholds if math.isfinite(threshold)]
    violations = sum(risk > 0.1 for _, risk in found) / draws
    return Simulated(violations, len(found) / draws, sum(coverage for coverage, _ in found) / draws)
