"""Grouped cross-validation of the whole path, every fold being one more residual column in the same sweeps."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hneurons.core.errors import InputError, NotEnoughDataError
from hneurons.core.seeds import fingerprint
from hneurons.core.stats import auroc
from hneurons.sparse.inner import Floats, log_loss_rows
from hneurons.sparse.path import (
    MEMORY,
    RATIOS,
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
from hneurons.sparse.state import Solved, Task
from hneurons.sparse.sweeps import solve_tasks

Criterion = Literal["log_loss", "auroc", "accuracy"]


@dataclass(frozen=True)
class CrossValidation:
    """The path on all rows and how each of its points predicts groups it has not seen.

    `scores` maps "log_loss" (weighted as in the fit), "auroc" and "accuracy" to held-out values [folds, points], NaN
    where a fold's path had ended or its held-out rows lack a class. `decisions` [points, rows] are the held-out
    decision values, `folds` [rows] the fold each row was held out in.
    """

    path: SparsePath
    scores: dict[str, Floats]
    decisions: Floats
    folds: NDArray[np.int64]

    def mean(self, criterion: Criterion) -> Floats:
        """Mean over folds at each point; NaN where any fold is missing."""
        return np.asarray(self.scores[criterion].mean(axis=0))

    def error(self, criterion: Criterion) -> Floats:
        """Standard error of that mean."""
        values = self.scores[criterion]
        return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(len(values)))

    def choose(self, criterion: Criterion = "log_loss", *, rule: Literal["best", "one_se"] = "best") -> int:
        """The best point, or the sparsest one within one standard error of it. Raises `NotEnoughDataError` if none is
        scored in every fold."""
        if criterion not in self.scores:
            raise InputError(f"unknown criterion '{criterion}': known are {', '.join(sorted(self.scores))}")
        goodness = self.mean(criterion) * (-1 if criterion == "log_loss" else 1)
        if np.isnan(goodness).all():
            raise NotEnoughDataError("no point of the path was reached and scored in every fold: use fewer folds")
        best = int(np.nanargmax(goodness))
        if rule == "best":
            return best
        return int(np.flatnonzero(goodness >= goodness[best] - self.error(criterion)[best])[0])


def cross_validate_path(
    X: Features,
    y: ArrayLike,
    groups: Sequence[Any],
    *,
    folds: int = 5,
    seed: int = 0,
    ratios: Sequence[float] = RATIOS,
    C: Sequence[float] | None = None,
    class_weight: ClassWeight = None,
    sample_weight: ArrayLike | None = None,
    standardize: bool = True,
    intercept: Literal["free", "penalized"] = "free",
    tolerance: float = 1e-4,
    max_features: int = 1000,
    memory: int = MEMORY,
    out: Path | None = None,
) -> CrossValidation:
    """Fit the path on all rows and on all but each fold of `groups` (questions), on the same lambdas.

    Means, deviations and balanced class weights of a fold come from its training rows alone. Folds are stratified by
    label. Other options as in `fit_path`. Raises `NotEnoughDataError` where a fold lacks a class.
    """
    start = time.perf_counter()
    matrix = as_matrix(X)
    target = check_labels(y, matrix)
    held_out = split_groups(target, groups, folds, seed)
    masks = np.array([held_out >= 0, *(held_out != fold for fold in range(folds))])
    weights = [row_weights(target, class_weight, sample_weight, mask) for mask in masks]
    total = float(weights[0].sum())
    problem = make_problem(ratios, C, total, standardize, intercept, tolerance, max_features)
    solved = solve_tasks(
        matrix,
        target,
        [Task(weight / weight.sum(), moments=number) for number, weight in enumerate(weights)],
        uniform(masks.astype(np.float64)),
        problem,
        memory=memory,
        out=out,
        settings={**asdict(problem), "folds": folds, "groups": fingerprint(held_out.tolist())},
        inputs=identify(matrix, target, *weights) if out else None,
        stage="cross-validation",
    )
    decisions = np.full((solved.tasks[0].length, len(target)), np.nan)
    for fold in range(folds):
        rows = np.flatnonzero(held_out == fold)
        values = _decide(solved, solved.tasks[fold + 1], rows)
        reached = min(len(values), len(decisions))
        decisions[:reached, rows] = values[:reached]
    path = read_path(solved, 0, problem, total, time.perf_counter() - start)
    return CrossValidation(path, _score(decisions, target, held_out, weights[0]), decisions, held_out)


def split_groups(y: Floats, groups: Sequence[Any], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each row; a group is never divided and the labels are spread evenly."""
    if len(groups) != len(y):
        raise InputError(f"{len(y)} rows but {len(groups)} groups: give one group a row")
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    available = int(codes.max()) + 1
    if not 2 <= folds <= available:
        raise NotEnoughDataError(f"{available} groups cannot be held out in {folds} folds: use 2 to {available} folds")
    return _folds(np.asarray(y, dtype=np.float64).tobytes(), codes.tobytes(), folds, seed % 2**32).copy()


@lru_cache(maxsize=32)  # fits to other columns of the same rows ask for the same folds, which take a while
def _folds(y: bytes, groups: bytes, folds: int, seed: int) -> NDArray[np.int64]:
    from sklearn.model_selection import StratifiedGroupKFold

    labels, codes = np.frombuffer(y), np.frombuffer(groups, dtype=np.int64)
    result = np.empty(len(labels), dtype=np.int64)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for fold, (_, rows) in enumerate(splitter.split(codes, labels, codes)):
        result[rows] = fold
    return result


def _decide(solved: Solved, task: Task, rows: NDArray[np.int64]) -> Floats:
    """Decision values [points, rows] of one fitted path, on columns that are already in memory."""
    used = task.coef[: task.length].any(axis=0)
    values = solved.scaled(task, task.columns[used], rows).astype(np.float64)
    return np.asarray(task.coef[: task.length, used] @ values + task.intercept[: task.length, None])


_MEASURES: dict[str, Callable[[Floats, Floats, Floats], float]] = {
    "log_loss": lambda decision, y, share: float(share @ log_loss_rows(decision, y)),
    "auroc": lambda decision, y, share: auroc(y, decision),
    "accuracy": lambda decision, y, share: float(((decision > 0) == (y > 0)).mean()),
}


def _score(decisions: Floats, y: Floats, held_out: NDArray[np.int64], weight: Floats) -> dict[str, Floats]:
    scores: dict[str, list[list[float]]] = {name: [] for name in _MEASURES}
    for fold in range(int(held_out.max()) + 1):
        rows = held_out == fold
        values, labels, share = decisions[:, rows], y[rows], weight[rows] / weight[rows].sum()
        for name, measure in _MEASURES.items():
            scores[name].append([np.nan if np.isnan(v).any() else measure(v, labels, share) for v in values])
    return {name: np.array(rows) for name, rows in scores.items()}
