"""The path on resamples of its rows, all fitted in the same sweeps: how a fit varies with its training questions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hneurons.sparse.inner import Floats
from hneurons.sparse.path import (
    MEMORY,
    ClassWeight,
    Features,
    SparsePath,
    as_matrix,
    check_labels,
    make_problem,
    read_path,
    row_weights,
    uniform,
)
from hneurons.sparse.state import Task
from hneurons.sparse.sweeps import solve_tasks


def fit_resampled(
    X: Features,
    y: ArrayLike,
    counts: Sequence[Floats],
    *,
    ratios: Sequence[float],
    class_weight: ClassWeight = None,
    standardize: bool = True,
    tolerance: float = 1e-3,
    max_features: int = 1000,
    memory: int = MEMORY,
) -> list[SparsePath]:
    """One path for each of `counts`, float64 [rows]: how often a resample has each row.

    All use the lambdas of the fit on all rows, and columns scaled over all rows. A path may be shorter than `ratios`.
    Raises `NotEnoughDataError` where a resample lacks a class.
    """
    matrix = as_matrix(X)
    target = check_labels(y, matrix)
    everything = row_weights(target, class_weight)
    weights = [everything, *(row_weights(target, class_weight, drawn) for drawn in counts)]
    total = float(everything.sum())
    problem = make_problem(ratios, None, total, standardize, "free", tolerance, max_features)
    tasks = [Task(weight / weight.sum()) for weight in weights]
    every_row = uniform(np.ones((1, len(target))))
    solved = solve_tasks(
        matrix, target, tasks, every_row, problem, memory=memory, out=None, settings={}, inputs=None, stage="resampled"
    )
    return [read_path(solved, number, problem, total) for number in range(1, len(weights))]
