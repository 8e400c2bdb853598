"""The redundancy curve: how well so many random neurons do, fitted by ridge, from ten to all of them."""

from collections.abc import Sequence

import numpy as np

from hneurons.core.seeds import derive_seed
from hneurons.core.stats import auroc
from hneurons.detection.answer_rows import AnswerRows, Floats, Indices
from hneurons.detection.ridge import fit_ridge, products_of, products_of_arrays
from hneurons.detection.rivals.results import CurvePoint

SMALL = (10, 30, 100, 300, 1000)
LARGE = (3000, 10_000, 30_000)
DRAWS, LARGE_DRAWS = 20, 5
_MEMORY = 1 << 28


def redundancy_curve(
    train: AnswerRows, tests: Sequence[AnswerRows], *, without: Indices, seed: int = 0, draws: int = DRAWS
) -> list[tuple[CurvePoint, ...]]:
    """The points of every test set. Draws are nested: a draw of 30 neurons holds those of its draw of 10.

    None of the random neurons is among `without`, the detector's; the last point reads all neurons, these too.
    """
    width = train.matrix.shape[1]
    others = np.setdiff1d(np.arange(width), without)
    found: dict[int, list[list[float]]] = {}
    small = [size for size in SMALL if size <= len(others)]
    for draw in range(draws if small else 0):
        order = np.random.default_rng(derive_seed("curve", seed, draw)).permutation(others)[: small[-1]]
        parts = [rows.matrix.gather(order, _MEMORY).T.astype(np.float64) for rows in (train, *tests)]
        for size in small:
            found.setdefault(size, []).append(_areas([part[:, :size] for part in parts], train, tests, seed))
    for size in (size for size in LARGE if size <= len(others)):
        for draw in range(min(draws, LARGE_DRAWS)):
            rng = np.random.default_rng(derive_seed("curve", seed, draw, size))
            found.setdefault(size, []).append(_of(np.sort(rng.choice(others, size, replace=False)), train, tests, seed))
    if width not in found:
        found[width] = [_of(None, train, tests, seed)]
    return [
        tuple(
            CurvePoint(size, len(areas), float(np.mean(column)), min(column), max(column))
            for size, areas in sorted(found.items())
            for column in [[one[place] for one in areas]]
        )
        for place in range(len(tests))
    ]


def _of(columns: Indices | None, train: AnswerRows, tests: Sequence[AnswerRows], seed: int) -> list[float]:
    products = products_of(train.matrix, [rows.matrix for rows in tests], columns)
    ridge = fit_ridge(products.train, train.labels, train.groups, seed=seed)
    return [auroc(rows.labels, ridge.decide(part)) for rows, part in zip(tests, products.tests, strict=True)]


def _areas(parts: list[Floats], train: AnswerRows, tests: Sequence[AnswerRows], seed: int) -> list[float]:
    products = products_of_arrays(parts[0], parts[1:])
    ridge = fit_ridge(products.train, train.labels, train.groups, seed=seed, factor=products.factor)
    return [auroc(rows.labels, ridge.decide(part)) for rows, part in zip(tests, products.tests, strict=True)]
