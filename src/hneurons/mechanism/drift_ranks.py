"""Where H-neurons stand among all neurons by drift, and whether like neurons stand elsewhere: permutation tests.

Most neurons of a tuned model drift little, and drift differs by layer and with how much a neuron contributes, so a rank
below the middle says little by itself. Labels are therefore also permuted within layers, among neurons of like
contribution, and among those of like contribution in the same layer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hneurons.core.errors import InputError, NotEnoughDataError
from hneurons.core.rows import Row
from hneurons.core.stats import BOOTSTRAPS, Estimate, bootstrap_means, bounded_interval
from hneurons.mechanism.weight_drift import Drift
from hneurons.neurons.contributions import Contributions
from hneurons.neurons.controls import control_rng, draw_subsets
from hneurons.neurons.neuron_set import NeuronSet

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
DRAWS = 10_000
ALIKE = 50  # neurons of neighbouring contribution that may stand in for one another
SCORE = "up and down"
ANY = "any neurons"
_CELLS = 4_000_000


@dataclass(frozen=True, slots=True)
class Comparison(Row):
    """The mean rank of H-neurons against as many neurons of the same strata.

    `against` names the strata; `expected` the mean rank labels drawn at random within them have, exactly; `low`, `high`
    the middle 95% of the draws. `p_less`, `p_more`: one-sided, (1 + draws at least as far out) / (1 + draws), for
    having changed less and more. `pool`: neurons in the strata drawn from.
    """

    against: str
    expected: float
    low: float
    high: float
    p_less: float
    p_more: float
    pool: int


@dataclass(frozen=True, slots=True)
class PartRanks(Row):
    """Mean normalised rank of the H-neurons by one distance, 0 the least and 1 the most changed of all neurons.

    `part`: "up and down" (mean of both z-scores, as in the paper), or "up", "down", "gate" alone.
    """

    part: str
    mean: Estimate
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class DriftRanks(Row):
    """All tests of one neuron set; `parts` is empty where neither up nor down moved, `equal` tells whether the gate
    did not either.

    `ranks` by the paper's score and `distances` (up, down, gate or None) follow `neurons`, (layer, neuron) pairs.
    """

    equal: bool
    layers: int
    population: int
    draws: int
    neurons: tuple[tuple[int, int], ...]
    ranks: tuple[float, ...]
    distances: tuple[tuple[float, float, float | None], ...]
    parts: tuple[PartRanks, ...]

    @property
    def score(self) -> PartRanks:
        """The paper's score, up and down together."""
        return self.parts[0]


def rank_drift(
    drift: Drift,
    neurons: NeuronSet,
    *,
    contributions: Floats | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> DriftRanks:
    """Rank all neurons by drift and test where `neurons` stand (arXiv 2512.01797, figure 4).

    Ranks are over the whole model, ties averaged, (rank - 1/2) / all, so that random neurons have mean 1/2. The test
    against any neurons is the Mann-Whitney test with its distribution drawn instead of approximated. `contributions`
    [layers, neurons], as `average_contributions` gives, adds the comparisons with neurons of like contribution.
    The mean's interval is a bootstrap over the neurons.

    Raises `NotEnoughDataError` for an empty set, `InputError` for a drift or contributions of another shape.
    """
    shape = (neurons.identity.layers, neurons.identity.neurons)
    if not len(neurons):
        raise NotEnoughDataError("the set has no neurons, so none can be ranked: fit a detector that selects some")
    if drift.shape != shape or (contributions is not None and contributions.shape != shape):
        found = drift.shape if drift.shape != shape else contributions.shape  # type: ignore[union-attr]
        raise InputError(f"these neurons are of a model of {shape} (layers, neurons), found values of {found}")
    pairs = tuple(zip(neurons.layers.tolist(), neurons.neurons.tolist(), strict=True))
    chosen = neurons.columns
    values = {SCORE: drift.score(), "up": drift.up, "down": drift.down}
    if drift.gate is not None:
        values["gate"] = drift.gate
    gates = [None] * len(pairs) if drift.gate is None else drift.gate.ravel()[chosen].tolist()
    distances = zip(drift.up.ravel()[chosen].tolist(), drift.down.ravel()[chosen].tolist(), gates, strict=True)
    ranks = {name: normalised_ranks(part.ravel()) for name, part in values.items()}
    strata = make_strata(shape, contributions)
    parts = _test_all(ranks, chosen, strata, draws, seed) if drift.ranked else ()
    return DriftRanks(
        equal=drift.equal,
        layers=shape[0],
        population=drift.up.size,
        draws=draws,
        neurons=pairs,
        ranks=tuple(ranks[SCORE][chosen].tolist()),
        distances=tuple(distances),
        parts=parts,
    )


def average_contributions(contributions: Contributions) -> Floats:
    """Mean contribution of every neuron over the answer rows, float64 [layers, neurons]."""
    numbers = [i for i, row in enumerate(contributions.rows) if row["region"] == "answer"]
    if not numbers:
        raise NotEnoughDataError("there are no answer rows to average contributions over")
    matrix = contributions.matrix(numbers)
    means = np.empty(matrix.shape[1])
    for columns, slab in matrix.slabs(1 << 28):
        means[columns] = slab.mean(axis=0, dtype=np.float64)
    return means.reshape(contributions.shape)


def normalised_ranks(values: Floats) -> Floats:
    """(rank - 1/2) / n, ties sharing their mean rank."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(values) - 0.5) / len(values))


def make_strata(shape: tuple[int, int], contributions: Floats | None) -> dict[str, Indices]:
    """The stratum of each neuron, by what it is compared with: labels are exchangeable within strata."""
    layers = np.repeat(np.arange(shape[0]), shape[1])
    strata = {ANY: np.zeros(shape[0] * shape[1], dtype=np.int64), "the same layers": layers}
    if contributions is not None:
        flat = contributions.ravel()
        strata["like contributions"] = _bin(np.argsort(np.argsort(flat, kind="stable"), kind="stable"), len(flat))
        within = np.argsort(np.argsort(contributions, axis=1, kind="stable"), axis=1, kind="stable").ravel()
        bins = _bin(within, shape[1])
        strata["like contributions, same layers"] = layers * (int(bins.max()) + 1) + bins
    return strata


def _bin(place: Indices, count: int) -> Indices:
    """Neighbouring places in bins of about `ALIKE`, none smaller than that where there are so many."""
    return np.asarray(place * max(1, count // ALIKE) // count, dtype=np.int64)


def _test_all(
    ranks: dict[str, Floats], chosen: Indices, strata: dict[str, Indices], draws: int, seed: int
) -> tuple[PartRanks, ...]:
    table = np.stack(list(ranks.values()))
    found = {name: compare_within(name, table, chosen, stratum, draws, seed) for name, stratum in strata.items()}
    results = []
    for number, (name, part) in enumerate(ranks.items()):
        own = part[chosen]
        resampled = bootstrap_means(own[:, None], seed=seed, draws=BOOTSTRAPS)[:, 0]
        mean = bounded_interval(own.mean(), resampled, len(own), units=len(own), lowest=0, highest=1)
        results.append(PartRanks(name, mean, tuple(parts[number] for parts in found.values())))
    return tuple(results)


def compare_within(
    name: str, table: Floats, chosen: Indices, strata: Indices, draws: int, seed: int
) -> list[Comparison]:
    """One comparison for each row of `table`, ranks [parts, all neurons]: labels are permuted within `strata`.

    Every permutation serves all parts. p-values are exact up to the draws: uniform where `chosen` are exchangeable with
    the others of their stratum.
    """
    rng = control_rng("drift", name, seed)
    sums, expected, pool = np.zeros((len(table), draws)), np.zeros(len(table)), 0
    for stratum, count in zip(*np.unique(strata[chosen], return_counts=True), strict=True):
        members = np.flatnonzero(strata == stratum)
        pool += len(members)
        expected += count * table[:, members].mean(axis=1)
        step = max(1, _CELLS // (len(members) if count * count > len(members) else int(count)))
        for first in range(0, draws, step):
            last = min(first + step, draws)
            drawn = members[draw_subsets(rng, len(members), int(count), last - first)]
            sums[:, first:last] += table[:, drawn].sum(axis=2)
    size = len(chosen)
    means, observed = sums / size, table[:, chosen].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5], axis=1)
    # Sums of the same ranks in another order differ in the last digits.
    less = (1 + (means <= observed[:, None] + 1e-12).sum(axis=1)) / (1 + draws)
    more = (1 + (means >= observed[:, None] - 1e-12).sum(axis=1)) / (1 + draws)
    rows = np.stack([expected / size, low, high, less, more], axis=1).tolist()
    return [Comparison(name, mean, lowest, highest, p, q, pool) for mean, lowest, highest, p, q in rows]
