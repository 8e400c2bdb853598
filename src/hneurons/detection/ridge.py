"""Ridge regression on any number of columns, by the products of rows: its penalty chosen on held-out training folds.

With more columns than rows all of them cost little more than a few: what counts is one product of every pair of rows.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hneurons.core.stats import auroc
from hneurons.detection.answer_rows import Bools, Decided, Floats, Indices, even_odds
from hneurons.sparse.cross_validation import split_groups
from hneurons.sparse.matrix import ColumnMatrix

FOLDS = 5
PENALTIES = tuple(10.0**power for power in np.arange(-3.0, 4.0))
"""Shares of the mean eigenvalue of the products."""
_MEMORY = 1 << 28


class Products(NamedTuple):
    """Products of standardised rows, divided by the number of columns: [train, train], and [test, train] each.

    factor: [train, columns] with train = factor @ factor.T, where these are fewer columns than rows.
    """

    train: Floats
    tests: tuple[Floats, ...]
    factor: Floats | None = None


class Ridge(NamedTuple):
    """A fit in the dual: decision values are products with the training rows @ `dual`.

    held_out: the decision values of the training rows, each from the folds without it. area: their AUROC.
    """

    dual: Floats
    penalty: float
    held_out: Floats
    area: float

    def decide(self, products: Floats) -> Floats:
        """Decision values, float64 [rows] of products [rows, train]."""
        return products @ self.dual


def products_of(train: ColumnMatrix, tests: Sequence[ColumnMatrix], columns: Indices | None = None) -> Products:
    """Products of rows over some columns (all by default), which the training rows standardise."""
    blocks = _blocks([train, *tests], columns)
    sums = [np.zeros((matrix.shape[0], train.shape[0])) for matrix in (train, *tests)]
    used = 0
    for parts in blocks:
        mean, deviation = parts[0].mean(axis=0), parts[0].std(axis=0)
        known = deviation > 0
        used += int(known.sum())
        scaled = [(part[:, known] - mean[known]) / deviation[known] for part in parts]
        for total, part in zip(sums, scaled, strict=True):
            total += part @ scaled[0].T
    own, *others = (total / max(1, used) for total in sums)
    return Products(own, tuple(others))


def products_of_arrays(train: Floats, tests: Sequence[Floats]) -> Products:
    """As `products_of`, for features in memory: float [rows, columns] each."""
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    known = deviation > 0
    own, *others = ((part[:, known] - mean[known]) / deviation[known] for part in (train, *tests))
    columns = max(1, own.shape[1])
    factor = own / np.sqrt(columns) if own.shape[1] < len(own) else None
    return Products(own @ own.T / columns, tuple(part @ own.T / columns for part in others), factor)


def fit_ridge(
    products: Floats, labels: Bools, groups: Sequence[str], *, seed: int = 0, factor: Floats | None = None
) -> Ridge:
    """Ridge regression of the class on products [train, train], the penalty with the best held-out AUROC.

    The targets are 1 / share of the class, positive for wrong answers, so that classes count alike. Held-out values are
    exact: those of the fit without the fold, by one decomposition for all folds (Cawley and Talbot 2003). With one
    question of a class nothing can be held out, and every decision value is 0.
    """
    fewest = min(len({g for g, wrong in zip(groups, labels, strict=True) if wrong == of}) for of in (True, False))
    if fewest < 2:
        return Ridge(np.zeros(len(labels)), 1.0, np.zeros(len(labels)), 0.5)
    folds = split_groups(labels.astype(np.float64), groups, min(FOLDS, fewest), seed)
    target = np.where(labels, 0.5 / labels.mean(), -0.5 / (1 - labels.mean()))
    values, vectors = _decompose(products, factor)
    mean = float(values.sum()) / len(labels)
    best: Ridge | None = None
    for share in PENALTIES:
        penalty = share * mean
        if not penalty > 0:
            break
        hat = (vectors * (values / (values + penalty))) @ vectors.T
        held_out = _leave_folds_out(hat, target, folds)
        area = auroc(labels, held_out)
        if best is None or area > best.area:
            # Along directions that no product has, a dual weight changes no decision.
            dual = (vectors / (values + penalty)) @ (vectors.T @ target)
            best = Ridge(dual, penalty, held_out, area)
    return best or Ridge(np.zeros(len(labels)), 1.0, np.zeros(len(labels)), 0.5)


def refit_dual(products: Floats, labels: Bools, rows: Indices, penalty: float) -> Floats:
    """The fit on some of the training rows, which may repeat, at a given penalty: dual float64 [rows]."""
    chosen = labels[rows]
    target = np.where(chosen, 0.5 / chosen.mean(), -0.5 / (1 - chosen.mean()))
    kept = products[np.ix_(rows, rows)] + penalty * np.eye(len(rows))
    return np.asarray(np.linalg.solve(kept, target))


def ridge_refitter(products: Products, labels: Bools, ridge: Ridge) -> Callable[[Indices], Floats]:
    """Values of the one test set of `products` by fits on some training rows, which may repeat, at the same penalty."""

    def refit(rows: Indices) -> Floats:
        return products.tests[0][:, rows] @ refit_dual(products.train, labels, rows, ridge.penalty)

    return refit


def decide_ridge(products: Products, labels: Bools, groups: Sequence[str]) -> Decided:
    """Decision values on the one test set of `products`; the threshold is where held-out answers have even odds."""
    ridge = fit_ridge(products.train, labels, groups)
    return Decided(ridge.decide(products.tests[0]), even_odds(ridge.held_out, labels.astype(np.int64)))


def _decompose(products: Floats, factor: Floats | None) -> tuple[Floats, Floats]:
    """Eigenvalues and vectors of the products, from the smaller of the two matrices that have them."""
    if factor is None:
        values, vectors = np.linalg.eigh(products)
        return np.maximum(values, 0.0), vectors
    values, sides = np.linalg.eigh(factor.T @ factor)
    kept = values > 1e-10 * max(values[-1], 1e-300)
    return values[kept], factor @ sides[:, kept] / np.sqrt(values[kept])


def _leave_folds_out(hat: Floats, target: Floats, folds: Indices) -> Floats:
    residuals = target - hat @ target
    held_out = np.empty(len(target))
    for fold in np.unique(folds):
        rows = np.flatnonzero(folds == fold)
        inverse = np.eye(len(rows)) - hat[np.ix_(rows, rows)]
        held_out[rows] = target[rows] - np.linalg.solve(inverse, residuals[rows])
    return held_out


def _blocks(matrices: Sequence[ColumnMatrix], columns: Indices | None) -> Iterator[list[NDArray[np.float32]]]:
    """The columns of several matrices side by side, float32 [rows, some columns] each."""
    chosen = np.arange(matrices[0].shape[1]) if columns is None else columns
    width = max(1, _MEMORY // (4 * sum(matrix.shape[0] for matrix in matrices)))
    for start in range(0, len(chosen), width):
        yield [matrix.gather(chosen[start : start + width], _MEMORY).T for matrix in matrices]
