"""L1-logistic regression on a few thousand columns: prox-Newton with an exact gradient and a float32 Gram matrix.

Minimises, over an intercept b and coefficients v,

    F(b, v) = sum_i w_i log(1 + exp(-s_i (b + x_i v))) + lambda ||v||_1,     s_i = 2 y_i - 1,  sum_i w_i = 1.

Each Newton step minimises the quadratic model on a working set of columns. It uses coordinate descent, scikit-learn's
`lasso_path` on a precomputed Gram matrix. The working set grows by the columns that violate optimality until none does.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Float32s = NDArray[np.float32]
Indices = NDArray[np.int64]

NEWTON_STEPS = 50
ROUNDS = 100


class InnerFit(NamedTuple):
    """The solution on the given columns.

    `coef` is float64 [columns], and `linear` the decision values, float64 [rows]. `violation` is the largest breach of
    optimality over the given columns, as a fraction of lambda.
    """

    coef: Floats
    intercept: float
    linear: Floats
    violation: float


def sigmoid(values: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * values)))


def log_loss_rows(linear: Floats, y: Floats) -> Floats:
    """log(1 + exp(-s f)) of each row."""
    return np.asarray(np.logaddexp(0, (1 - 2 * y) * linear))


def solve_inner(
    columns: Float32s,
    y: Floats,
    weight: Floats,
    lambda_: float,
    start: InnerFit,
    *,
    free_intercept: bool,
    tolerance: float,
) -> InnerFit:
    """Minimise F on `columns` [columns, rows] from `start`.

    With `free_intercept=False` there is no b: a penalised intercept is a column of ones.
    """
    coef, intercept = start.coef.copy(), start.intercept
    working = np.flatnonzero(coef)
    basis = columns[working].astype(np.float64)
    linear = coef[working] @ basis + intercept
    violation = np.inf
    for _ in range(ROUNDS):
        residual = weight * (y - sigmoid(linear))
        gradient = (columns @ residual.astype(np.float32)).astype(np.float64)
        excess = np.abs(gradient) / lambda_ - 1
        excess[working] = -1.0
        inside = _breach(basis @ residual, coef[working], lambda_, float(residual.sum()) if free_intercept else 0.0)
        violation = max(inside, float(excess.max(initial=0.0)))
        if violation <= tolerance:
            break
        violators = np.flatnonzero(excess > tolerance)
        room = max(50, len(working))
        if len(violators) > room:
            violators = np.sort(violators[np.argpartition(-excess[violators], room)[:room]])
        kept = coef[working] != 0
        working = np.concatenate([working[kept], violators])
        basis = np.concatenate([basis[kept], columns[violators].astype(np.float64)])
        # While columns are missing from the working set a rough solution shows as well which ones they are.
        goal = max(tolerance / 2, 0.03 * violation)
        coef[working], intercept, linear = _newton(
            basis, coef[working], intercept, linear, y, weight, lambda_, free_intercept, goal
        )
    return InnerFit(coef, intercept, linear, violation)


def _breach(gradient: Floats, coef: Floats, lambda_: float, offset: float) -> float:
    """Largest violation of the optimality conditions, the intercept's included, as a fraction of lambda."""
    off = np.where(coef != 0, np.abs(gradient - lambda_ * np.sign(coef)), np.abs(gradient) - lambda_)
    return max(float(off.max(initial=0.0)), abs(offset)) / lambda_


def _newton(
    basis: Floats,
    coef: Floats,
    intercept: float,
    linear: Floats,
    y: Floats,
    weight: Floats,
    lambda_: float,
    free: bool,
    tolerance: float,
) -> tuple[Floats, float, Floats]:
    """Minimise F on the working set `basis` [columns, rows]."""
    single = basis.astype(np.float32)
    value = float(weight @ log_loss_rows(linear, y)) + lambda_ * float(np.abs(coef).sum())
    for _ in range(NEWTON_STEPS):
        chance = sigmoid(linear)
        residual = weight * (y - chance)
        offset = float(residual.sum()) if free else 0.0
        gradient = basis @ residual
        breach = _breach(gradient, coef, lambda_, offset)
        if breach <= tolerance:
            break
        curvature = np.maximum(weight * chance * (1 - chance), 1e-12 * weight.max())
        total = float(curvature.sum())
        centre = basis @ curvature / total if free else np.zeros(len(coef))
        step = _lasso(single, centre, curvature, gradient - centre * offset, coef, residual, lambda_, breach) - coef
        move = (offset / total - float(centre @ step)) if free else 0.0
        along = step @ basis + move
        # Far from the optimum the quadratic model overshoots; halving a descent direction ends in a decrease.
        length = 1.0
        slope = (
            -float(gradient @ step) - offset * move + lambda_ * float(np.abs(coef + step).sum() - np.abs(coef).sum())
        )
        while length > 1e-8:
            trial = float(weight @ log_loss_rows(linear + length * along, y))
            trial += lambda_ * float(np.abs(coef + length * step).sum())
            if trial <= value + 1e-4 * length * min(slope, 0.0) + 1e-15:
                break
            length /= 2
        else:
            break
        coef, intercept, linear = coef + length * step, intercept + length * move, linear + length * along
        stalled = value - trial <= 1e-15 and length == 1.0 and float(np.abs(along).max(initial=0.0)) < 1e-12
        value = trial
        if stalled:
            break
    return coef, intercept, linear


def _lasso(
    basis: Float32s,
    centre: Floats,
    curvature: Floats,
    gradient: Floats,
    coef: Floats,
    residual: Floats,
    lambda_: float,
    breach: float,
) -> Floats:
    """argmin_v 1/2 v'Gv - (G coef + gradient)'v + lambda ||v||_1 with G = sum_i curvature_i (x_i - c)(x_i - c)'."""
    if not len(coef):
        return coef
    from sklearn.linear_model import lasso_path

    # The gradient is exact, so a float32 Gram matrix slows convergence imperceptibly and leaves the solution alone.
    root = basis * np.sqrt(curvature).astype(np.float32)
    gram = _self_product(root).astype(np.float64) - float(curvature.sum()) * np.outer(centre, centre)
    pull = gram @ coef + gradient
    # Coordinate descent sees only the Gram matrix; X and y give it the number of rows (1) and the scale of its gap.
    size = np.sqrt(float(coef @ gram @ coef + 2 * coef @ gradient + (residual**2 / curvature).sum()))
    # A gap well below what the worst coordinate alone can still gain.
    gain = (breach * lambda_) ** 2 / (2 * gram.diagonal().max())
    _, path, _ = lasso_path(
        np.zeros((1, len(coef)), order="F"),
        np.array([size]),
        alphas=[lambda_],
        precompute=gram,
        Xy=pull,
        coef_init=coef.copy(),  # overwritten by scikit-learn
        check_input=False,
        tol=max(0.01 * gain / size**2, 1e-15),
        max_iter=1000,
    )
    return np.asarray(path[:, 0], dtype=np.float64)


def _self_product(rows: Float32s) -> Float32s:
    """rows @ rows.T in half its work, as it is symmetric."""
    from scipy.linalg.blas import ssyrk

    half = ssyrk(1.0, rows.T, trans=1)  # the upper triangle
    return np.asarray(np.triu(half) + np.triu(half, 1).T)
