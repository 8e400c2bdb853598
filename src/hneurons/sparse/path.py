"""L1-logistic regression along a whole path of penalties, each solution certified over every column.

Minimises (sum_i w_i log(1 + exp(-s_i (b + x_i v)))) / (sum_i w_i) + lambda ||v||_1 for a falling sequence of lambda,
on standardised or centred columns, in memory or from shards. In liblinear's terms C = 1 / (lambda sum_i w_i).
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hneurons.core.errors import InputError, NotEnoughDataError
from hneurons.sparse.inner import Floats
from hneurons.sparse.matrix import ArrayMatrix, ColumnMatrix, Indices
from hneurons.sparse.state import Problem, Solved, Task
from hneurons.sparse.sweeps import solve_tasks

ClassWeight = Literal["balanced"] | Mapping[int, float] | None
Features = ColumnMatrix | NDArray[Any]
RATIOS = tuple(float(ratio) for ratio in np.geomspace(1, 0.1, 16)[1:])
"""The default path as fractions of lambda_max, the smallest lambda at which every coefficient is zero."""
MEMORY = 1 << 30


@dataclass(frozen=True, slots=True)
class Certificate:
    """How good one solution is, judged over all columns.

    - `violation`: the larger of max_j |x_j'r| / lambda - 1 and an active column's breach of x_j'r = lambda sign(v_j).
    - `gap`: the duality gap, in the units of `objective`.
    - `sweeps`: the number of passes over all columns.
    """

    lambda_: float
    objective: float
    gap: float
    violation: float
    sweeps: int


@dataclass(frozen=True)
class SparsePath:
    """Coefficients along the path for the columns that are ever selected, in the units of the raw features.

    - `columns`: int64 [k], the indices of these columns.
    - `coef`: float64 [points, k]. The penalty saw `coef * scale`.
    - `intercepts`, `lambdas`: float64 [points].
    - `mean`, `scale`: float64 [k], what the columns were centred and divided by.
    - `certificates`: one for each point.
    - `stopped`: why the path is shorter than its grid; empty where it is not.
    """

    columns: Indices
    coef: Floats
    intercepts: Floats
    mean: Floats
    scale: Floats
    lambdas: Floats
    lambda_max: float
    total_weight: float
    certificates: tuple[Certificate, ...]
    width: int
    seconds: float
    stopped: str = ""

    @property
    def ratios(self) -> Floats:
        """lambda / lambda_max, which carries over between models and sample sizes where C does not."""
        return np.asarray(self.lambdas / self.lambda_max) if self.lambda_max else np.full(len(self.lambdas), np.inf)

    @property
    def C(self) -> Floats:
        """liblinear's C of each point."""
        return np.asarray(1 / (self.lambdas * self.total_weight))

    @property
    def weights(self) -> Floats:
        """Coefficients on the scale the penalty saw, comparable between columns, [points, k]."""
        return self.coef * self.scale

    def support(self, point: int) -> Indices:
        """Columns with a coefficient other than zero."""
        return np.asarray(self.columns[self.coef[point] != 0])

    def decide(self, X: Features, *, memory: int = MEMORY) -> Floats:
        """Decision values (log odds) [points, rows] of new rows with the same columns, else `InputError`."""
        matrix = as_matrix(X)
        if matrix.shape[1] != self.width:
            raise InputError(f"the path was fitted on {self.width} columns, these rows have {matrix.shape[1]}")
        return self.coef @ matrix.gather(self.columns, memory).astype(np.float64) + self.intercepts[:, None]


def fit_path(
    X: Features,
    y: ArrayLike,
    *,
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
) -> SparsePath:
    """Fit L1-logistic regression of the binary `y` on all columns of `X` along a path of penalties.

    `ratios` are fractions of lambda_max; `C` asks for liblinear's penalties instead. `intercept="penalized"` with
    `standardize=False` is liblinear's problem. The path stops before a point with more than `max_features` columns or
    with separated classes, and `stopped` then says why. `memory` (bytes) bounds slabs and candidate columns. With
    `out`, an interrupted fit resumes at its last finished sweep.

    Raises `InputError` that names the row where a value is not finite, and `NotEnoughDataError` where a class is
    missing.
    """
    start = time.perf_counter()
    matrix = as_matrix(X)
    target = check_labels(y, matrix)
    weight = row_weights(target, class_weight, sample_weight)
    problem = make_problem(ratios, C, float(weight.sum()), standardize, intercept, tolerance, max_features)
    solved = solve_tasks(
        matrix,
        target,
        [Task(weight / weight.sum())],
        uniform(np.ones((1, len(target)))),
        problem,
        memory=memory,
        out=out,
        settings=asdict(problem),
        inputs=identify(matrix, target, weight) if out else None,
    )
    return read_path(solved, 0, problem, float(weight.sum()), time.perf_counter() - start)


def as_matrix(X: Features) -> ColumnMatrix:
    return ArrayMatrix(X) if isinstance(X, np.ndarray) else X


def check_labels(y: ArrayLike, matrix: ColumnMatrix) -> Floats:
    """Labels as 0.0 and 1.0. Raises `InputError` for other values or another length."""
    labels = np.asarray(y)
    if labels.shape != (matrix.shape[0],):
        raise InputError(f"{matrix.shape[0]} rows of features but labels of shape {labels.shape}: give one label a row")
    values = set(np.unique(labels).tolist())
    if not values <= {0, 1}:
        raise InputError(f"labels must be 0 or 1, found {sorted(values)[:5]}")
    if len(values) < 2:
        raise NotEnoughDataError(f"all {len(labels)} rows have the label {values}: both classes are needed")
    return labels.astype(np.float64)


def row_weights(
    y: Floats, class_weight: ClassWeight, sample_weight: ArrayLike | None = None, rows: NDArray[np.bool_] | None = None
) -> Floats:
    """Weight of each row as in scikit-learn, the class weights balanced over `rows` only; 0 for all others."""
    inside = np.ones(len(y), dtype=bool) if rows is None else rows
    weight = np.ones(len(y)) if sample_weight is None else np.array(sample_weight, dtype=np.float64)
    if weight.shape != y.shape or not np.isfinite(weight).all() or (weight < 0).any():
        raise InputError("sample weights must be one finite number of at least 0 for each row")
    inside = inside & (weight > 0)
    for label in (0, 1):
        count = int((inside & (y == label)).sum())
        if not count:
            raise NotEnoughDataError(
                f"{int(inside.sum())} rows with no label {label} among them: both classes are needed in every fit"
            )
        if class_weight == "balanced":
            weight[y == label] *= inside.sum() / (2 * count)
        elif isinstance(class_weight, Mapping):
            weight[y == label] *= class_weight[label]
    return np.where(inside, weight, 0.0)


def uniform(masks: Floats) -> Floats:
    """Each row of `masks` divided by its sum."""
    return np.asarray(masks / masks.sum(axis=1, keepdims=True))


def make_problem(
    ratios: Sequence[float],
    C: Sequence[float] | None,
    total: float,
    standardize: bool,
    intercept: Literal["free", "penalized"],
    tolerance: float,
    max_features: int,
) -> Problem:
    """Check the options of a fit. Raises `InputError` saying which one is wrong."""
    if intercept == "penalized" and standardize:
        raise InputError("a penalized intercept is liblinear's problem on raw columns: add standardize=False")
    grid = sorted((float(value) for value in (ratios if C is None else C)), reverse=C is None)
    if not grid or not all(0 < value < np.inf for value in grid):
        raise InputError(f"{'ratios' if C is None else 'C'} must be positive numbers, found {list(grid)}")
    if max_features < 1:
        raise InputError(f"max_features must be at least 1, found {max_features}")
    return Problem(
        ratios=tuple(grid) if C is None else (),
        lambdas=() if C is None else tuple(1 / (value * total) for value in grid),
        standardize=standardize,
        free_intercept=intercept == "free",
        tolerance=tolerance,
        max_features=max_features,
    )


def identify(matrix: ColumnMatrix, *arrays: NDArray[Any]) -> dict[str, str]:
    """Fingerprints of what a fit is made from, for its manifest."""
    digest = hashlib.blake2b(digest_size=8)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return {"features": matrix.content, "labels": digest.hexdigest()}


def read_path(solved: Solved, number: int, problem: Problem, total: float, seconds: float = 0.0) -> SparsePath:
    """The result of one of the fitted paths, in raw units."""
    task, width = solved.tasks[number], solved.matrix.shape[1]
    weights = task.coef[: task.length]
    used = weights.any(axis=0) & (task.columns < width)
    columns = task.columns[used]
    mean = solved.mean[task.moments, columns].astype(np.float64)
    scale = solved.scale[task.moments, columns].astype(np.float64)
    coef = weights[:, used] / scale
    intercepts = task.intercept[: task.length] - coef @ mean
    if not problem.free_intercept:
        intercepts = intercepts + weights[:, -1]
    return SparsePath(
        columns=columns,
        coef=coef,
        intercepts=intercepts,
        mean=mean,
        scale=scale,
        lambdas=solved.lambdas[: task.length].copy(),
        lambda_max=task.lambda_max,
        total_weight=total,
        certificates=tuple(
            Certificate(
                float(solved.lambdas[point]),
                float(task.objective[point]),
                float(task.gap[point]),
                float(max(task.violation[point], 0.0)),
                int(task.sweeps[point]),
            )
            for point in range(task.length)
        ),
        width=width,
        seconds=seconds,
        stopped=_why_stopped(task, solved.lambdas, problem),
    )


def _why_stopped(task: Task, lambdas: Floats, problem: Problem) -> str:
    if task.length == len(lambdas):
        return ""
    where = f"lambda = {lambdas[task.length] / task.lambda_max:.3g} of lambda_max"
    if task.separated:
        reason = f"at {where} the classes are separated (loss below a thousandth of the null model's)"
    else:
        reason = f"at {where} more than {problem.max_features} columns are selected (max_features)"
    return f"the path ends after {task.length} of {len(lambdas)} points: {reason}; smaller penalties only fit noise"
