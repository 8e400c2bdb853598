"""Stability selection: how often each neuron is selected when the path is fitted on random halves of the questions.

Meinshausen and Buhlmann 2010, with the complementary pairs of Shah and Samworth 2013: every random half is fitted
together with the other half.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hneurons.core.errors import InputError, NotEnoughDataError
from hneurons.core.seeds import derive_seed
from hneurons.sparse.inner import Floats
from hneurons.sparse.matrix import Indices
from hneurons.sparse.path import (
    MEMORY,
    ClassWeight,
    Features,
    SparsePath,
    as_matrix,
    check_labels,
    identify,
    make_problem,
    read_path,
    row_weights,
    uniform,
)
from hneurons.sparse.state import Task
from hneurons.sparse.sweeps import solve_tasks

RATIOS = tuple(float(ratio) for ratio in np.geomspace(0.6, 0.2, 5))


@dataclass(frozen=True)
class Stability:
    """Selection probabilities of the columns that were selected in any half-sample.

    - `path`: the fit on all rows.
    - `columns`: int64 [k].
    - `probabilities`: float64 [points, k], the share of half-samples that select a column at each lambda.
    - `probability`: float64 [k], the largest of them over the lambdas.
    - `sizes`: int64 [subsamples], how many columns each half-sample selects anywhere on its path.
    - `reached`: int64 [points], how many half-samples went that far. The others count as not selecting there.
    """

    path: SparsePath
    lambdas: Floats
    columns: Indices
    probabilities: Floats
    sizes: NDArray[np.int64]
    reached: NDArray[np.int64]
    width: int
    seconds: float

    @property
    def probability(self) -> Floats:
        return np.asarray(self.probabilities.max(axis=0, initial=0.0))

    def select(self, threshold: float = 0.6) -> Indices:
        """Columns whose selection probability is at least `threshold`."""
        return np.asarray(self.columns[self.probability >= threshold])

    def expected_false_selections(self, threshold: float = 0.6) -> float:
        """Upper bound q^2 / ((2 threshold - 1) p) on the expected number of falsely selected columns.

        q is the mean number of columns a half-sample selects anywhere on the path, p the number of columns
        (Meinshausen and Buhlmann 2010, Theorem 1, for exchangeable noise columns). Without that assumption it bounds
        the selected columns whose chance of selection in one half-sample is at most q / p (Shah and Samworth 2013,
        Theorem 1). Raises `InputError` for a threshold at or below 0.5, where nothing is bounded.
        """
        if not 0.5 < threshold <= 1:
            raise InputError(f"the threshold must be above 0.5 and at most 1, found {threshold}")
        return float(self.sizes.mean()) ** 2 / ((2 * threshold - 1) * self.width)


def select_stability(
    X: Features,
    y: ArrayLike,
    groups: Sequence[Any],
    *,
    n_subsamples: int = 50,
    seed: int = 0,
    ratios: Sequence[float] = RATIOS,
    C: Sequence[float] | None = None,
    class_weight: ClassWeight = None,
    sample_weight: ArrayLike | None = None,
    standardize: bool = True,
    tolerance: float = 1e-3,
    max_features: int = 1000,
    memory: int = MEMORY,
    out: Path | None = None,
) -> Stability:
    """Fit the path on all rows and on `n_subsamples` halves of the `groups` (questions), drawn in complementary pairs.

    All fits use the lambdas of the fit on all rows: `ratios` of its lambda_max, or liblinear's `C` for all rows. They
    also use columns scaled over all rows. Each fit is certified over every column. The other options are those of
    `fit_path`. Raises `InputError` for an odd or too small `n_subsamples`, and `NotEnoughDataError` where a half lacks
    a class.
    """
    start = time.perf_counter()
    matrix = as_matrix(X)
    target = check_labels(y, matrix)
    if n_subsamples < 2 or n_subsamples % 2:
        raise InputError(f"half-samples come in pairs: n_subsamples must be even and at least 2, found {n_subsamples}")
    masks = split_halves(groups, len(target), n_subsamples // 2, seed)
    everything = row_weights(target, class_weight, sample_weight)
    weights = [everything, *(row_weights(target, class_weight, sample_weight, mask) for mask in masks)]
    total = float(everything.sum())
    problem = make_problem(ratios, C, total, standardize, "free", tolerance, max_features)
    solved = solve_tasks(
        matrix,
        target,
        [Task(weight / weight.sum()) for weight in weights],
        uniform(np.ones((1, len(target)))),
        problem,
        memory=memory,
        out=out,
        settings={**asdict(problem), "n_subsamples": n_subsamples, "seed": seed},
        inputs=identify(matrix, target, *weights) if out else None,
        stage="stability",
    )
    halves = solved.tasks[1:]
    columns = np.unique(np.concatenate([task.columns[task.coef[: task.length].any(axis=0)] for task in halves]))
    counts = np.zeros((len(solved.lambdas), len(columns)))
    for task in halves:
        chosen = task.coef[: task.length] != 0
        used = chosen.any(axis=0)
        counts[: task.length, np.searchsorted(columns, task.columns[used])] += chosen[:, used]
    return Stability(
        path=read_path(solved, 0, problem, total, time.perf_counter() - start),
        lambdas=solved.lambdas,
        columns=columns,
        probabilities=counts / n_subsamples,
        sizes=np.array([int(task.coef[: task.length].any(axis=0).sum()) for task in halves]),
        reached=np.array([sum(task.length > point for task in halves) for point in range(len(solved.lambdas))]),
        width=matrix.shape[1],
        seconds=time.perf_counter() - start,
    )


def split_halves(groups: Sequence[Any], rows: int, pairs: int, seed: int) -> NDArray[np.bool_]:
    """Row masks [2 pairs, rows]: random halves of the groups, each followed by the other half."""
    if len(groups) != rows:
        raise InputError(f"{rows} rows but {len(groups)} groups: give one group a row")
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    available = int(codes.max()) + 1
    if available < 4:
        raise NotEnoughDataError(f"{available} groups are too few to halve: at least 4 are needed")
    masks = []
    for pair in range(pairs):
        order = np.random.default_rng(derive_seed("stability", seed, pair)).permutation(available)
        # With an odd number of groups the two halves leave one out, as in Shah and Samworth 2013.
        half = available // 2
        for part in (order[:half], order[half : 2 * half]):
            masks.append(np.isin(codes, part))
    return np.array(masks)
