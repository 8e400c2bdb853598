"""Answers of one domain, and of another, as a drift monitor reads them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hneurons.detection.decisions.drift import Drift, DriftMonitor, Seen, make_reference

NEURONS = 20


@dataclass(frozen=True)
class Domain:
    """Contributions of neurons are normal. All move by `shift`, half of them up and half down by `swap`.

    So `shift` moves the log odds, by so many of their standard deviations, and `swap` leaves them as they are.
    """

    shift: float = 0.0
    swap: float = 0.0

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        moved = np.repeat([self.swap, -self.swap], NEURONS // 2) + self.shift / np.sqrt(NEURONS)
        return np.asarray(rng.normal(size=(n, NEURONS)) + moved)


HOME, HARDER, OTHER = Domain(), Domain(shift=1.0), Domain(swap=0.7)


def watch(domain: Domain, *, reference: int, new: int, seed: int, change: Callable[[int], bool] | None = None) -> Drift:
    """A monitor of answers from `domain`, or only of those that `change` says, whose reference is from `HOME`."""
    rng = np.random.default_rng(seed)
    known = HOME.draw(rng, reference)
    monitor = DriftMonitor(make_reference(log_odds(known), known, rng.random(reference) < 1 / 3), seed=seed)
    here, there = HOME.draw(rng, new), domain.draw(rng, new)
    rows = [there[i] if change is None or change(i) else here[i] for i in range(new)]
    return monitor.read(Seen(float(log_odds(row[None])[0]), row.tolist()) for row in rows)


def log_odds(contributions: np.ndarray) -> np.ndarray:
    return np.asarray(contributions.sum(axis=1) * 0.4)
