"""Batched screening: many L1 paths over one huge matrix, each sweep over its columns serving all of them at once.

The first sweep gives column moments, every path's largest lambda and its most correlated columns. Then, until done:
solve all paths on their candidate columns, sweep once with all residuals, certify each solution over *all* columns
and take in the columns that violate its optimality. State after every sweep can be kept in a folder.
"""

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hneurons.core.errors import HNeuronsError
from hneurons.core.progress import progress
from hneurons.sparse.inner import Floats, InnerFit, log_loss_rows, sigmoid, solve_inner
from hneurons.sparse.matrix import ColumnMatrix, Float32s, Indices, check_finite
from hneurons.sparse.state import Problem, Solved, StateStore, Task

SD_FLOOR = 2.0**-11
"""Columns that vary by less than this fraction of their root mean square, float16's resolution, are scaled by it."""
BATCH = 2000
"""Columns a path takes in from one sweep, where memory allows."""
SLACK = 0.1
"""Columns this close (as a fraction of lambda) to violating optimality are taken in along with the violators."""
SWEEPS = 60
SEPARATED = 1e-3
"""A loss below this fraction of the null model's means that the classes are separated."""


def solve_tasks(
    matrix: ColumnMatrix,
    y: Floats,
    tasks: Sequence[Task],
    row_sets: Floats,
    problem: Problem,
    *,
    memory: int,
    out: Path | None = None,
    settings: dict[str, Any] | None = None,
    inputs: dict[str, str] | None = None,
    stage: str = "path",
) -> Solved:
    """Fit all `tasks` on the grid of the first one and certify every point over all columns.

    `row_sets` [sets, rows] holds row weights (each set's sum is 1) that column means and deviations are taken over;
    a task names its set. With `out` the state after each sweep is kept and a later call goes on from there.
    """
    state = Solved(matrix, y, tasks, row_sets)
    store = StateStore(out, stage, settings or {}, inputs or {}, len(tasks))
    with _workers() as (state.workers, state.pool):
        _run(state, problem, memory, store)
    store.finish(state)
    return state


@contextmanager
def _workers() -> Iterator[tuple[int, ThreadPoolExecutor]]:
    """As many workers as BLAS would use threads, each calling BLAS with one.

    BLAS's own threads wait for each other by spinning, which on a machine with other work costs several times the work.
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_info, threadpool_limits  # type: ignore[import-untyped]

    count = max((info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"), default=1)
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings(), ThreadPoolExecutor(count) as pool:
        warnings.simplefilter("ignore", ConvergenceWarning)  # Newton repeats what a lasso leaves unfinished
        yield count, pool


def _run(state: Solved, problem: Problem, memory: int, store: "StateStore") -> None:
    if not store.load(state):
        _first_sweep(state, problem, memory)
        store.save(state)
    else:
        wanted = np.unique(np.concatenate([task.columns for task in state.tasks]))
        wanted = wanted[wanted < state.matrix.shape[1]]
        state.take_in(wanted, state.matrix.gather(wanted, memory))
    with progress("path", len(state.tasks) * len(state.lambdas), done=_done(state)) as advance:
        while any(task.open_points() for task in state.tasks):
            if state.done_sweeps >= SWEEPS:
                worst = max(float(task.violation[task.open_points()].max(initial=0)) for task in state.tasks)
                raise HNeuronsError(
                    f"after {SWEEPS} sweeps some columns still violate optimality by {worst:.1g} of lambda, where "
                    f"{problem.tolerance:.1g} was asked for: raise the tolerance or the smallest lambda"
                )
            before = _done(state)
            residuals = list(state.pool.map(lambda task: _solve_task(state, task, problem), state.tasks))
            _certify(state, residuals, problem, memory)
            advance(_done(state) - before, note=f"sweep {state.done_sweeps}")
            store.save(state)


def _done(state: Solved) -> int:
    return sum(len(task.sweeps) - len(task.open_points()) for task in state.tasks)


def _first_sweep(state: Solved, problem: Problem, memory: int) -> None:
    matrix, y = state.matrix, state.y
    width = matrix.shape[1]
    sets = len(state.row_sets)
    state.mean, state.scale = np.zeros((sets, width), np.float32), np.ones((sets, width), np.float32)
    chance = np.array([task.weight @ y if problem.free_intercept else 0.5 for task in state.tasks])
    null = np.array([task.weight * (y - p) for task, p in zip(state.tasks, chance, strict=True)])
    residuals = null.astype(np.float32)
    catch = _Catch(state, problem, memory, threshold=0.0)
    combined = np.concatenate([state.row_sets, residuals])

    def look(band: Float32s) -> Float32s:
        both = combined @ band
        return np.concatenate([both, _deviations(state.row_sets, band, both[:sets])]) if problem.standardize else both

    for part, slab in matrix.slabs(memory // 2):
        mean, score, scale = np.split(state.by_parts(look, slab), [sets, sets + len(residuals)])
        if not np.isfinite(mean).all():
            check_finite(matrix, part, slab)
        if problem.free_intercept:
            state.mean[:, part] = mean
        if problem.standardize:
            state.scale[:, part] = scale
        catch.offer(part, slab, np.abs(score), np.arange(len(state.tasks)))
    best = catch.close()
    for k, task in enumerate(state.tasks):
        task.lambda_max = max(float(best[k]), 0.0 if problem.free_intercept else abs(float(null[k].sum())))
        if not problem.free_intercept:
            task.columns = np.append(task.columns, width)
    largest = state.tasks[0].lambda_max or 1.0
    state.lambdas = np.array(problem.lambdas or [ratio * largest for ratio in problem.ratios])
    for task in state.tasks:
        size = len(state.lambdas)
        task.length = size
        task.coef, task.intercept = np.zeros((size, len(task.columns))), np.zeros(size)
        task.objective, task.gap, task.violation = np.zeros(size), np.zeros(size), np.full(size, np.inf)
        task.sweeps = np.zeros(size, dtype=np.int64)
    state.done_sweeps = 1


def _deviations(row_sets: Float32s, slab: Float32s, mean: Float32s) -> Float32s:
    """Floored standard deviation of each column over each set of rows, from its `mean` [sets, columns]."""
    variance = np.zeros_like(mean)
    height = max(1, (1 << 18) // slab.shape[1])  # so that the scratch rows stay in cache
    scratch = np.empty((height, slab.shape[1]), dtype=np.float32)
    for start in range(0, len(slab), height):
        rows = slab[start : start + height]
        centred = np.subtract(rows, mean[0], out=scratch[: len(rows)])
        variance += row_sets[:, start : start + height] @ np.square(centred, out=centred)
    variance -= np.square(mean - mean[0])
    np.maximum(variance, 0, out=variance)
    sd = np.maximum(np.sqrt(variance), SD_FLOOR * np.sqrt(variance + mean**2))
    sd[sd == 0] = 1.0
    return np.asarray(sd)


def _solve_task(state: Solved, task: Task, problem: Problem) -> list[Floats]:
    """Solve the open points on the candidates; the residual w (y - p) over all rows of each open point."""
    if not task.open_points():
        return []
    rows = np.flatnonzero(task.weight)
    columns = state.scaled(task, task.columns, rows)
    y, weight = state.y[rows], task.weight[rows]
    base = float(weight @ y)
    intercept = float(np.log(base / (1 - base))) if problem.free_intercept else 0.0
    fit = InnerFit(np.zeros(len(task.columns)), intercept, np.full(len(rows), intercept), 0.0)
    null_loss = float(weight @ log_loss_rows(fit.linear, y))
    residuals = []
    for point in range(task.length):
        lambda_ = float(state.lambdas[point])
        stored = InnerFit(task.coef[point], float(task.intercept[point]), fit.linear, 0.0)
        if task.sweeps[point]:
            fit = stored
            continue
        start = stored if stored.coef.any() else fit
        fit = solve_inner(
            columns, y, weight, lambda_, start, free_intercept=problem.free_intercept, tolerance=problem.tolerance / 3
        )
        loss = float(weight @ log_loss_rows(fit.linear, y))
        separated = loss < SEPARATED * null_loss
        if separated or np.count_nonzero(fit.coef) > problem.max_features:
            task.length, task.separated = point, separated
            break
        task.coef[point], task.intercept[point] = fit.coef, fit.intercept
        task.objective[point] = loss + lambda_ * float(np.abs(fit.coef).sum())
        task.violation[point] = fit.violation
        residual = np.zeros(len(state.y))
        residual[rows] = weight * (y - sigmoid(fit.linear))
        residuals.append(residual)
    return residuals


def _certify(state: Solved, residuals: list[list[Floats]], problem: Problem, memory: int) -> None:
    """One sweep with all residuals: certify what is optimal over every column, take in what violates it."""
    points = [task.open_points() for task in state.tasks]
    owner = np.array([k for k, open_points in enumerate(points) for _ in open_points], dtype=np.int64)
    if not len(owner):
        return
    lambdas = np.array([state.lambdas[point] for open_points in points for point in open_points])
    stacked = np.array([row for rows in residuals for row in rows])
    scaled = (stacked / lambdas[:, None]).astype(np.float32)
    catch = _Catch(state, problem, memory, threshold=1.0 - SLACK)
    worst = np.zeros(len(owner))
    for part, slab in state.matrix.slabs(memory // 2):
        ratio = state.by_parts(lambda band: np.abs(scaled @ band), slab)
        np.maximum(worst, catch.offer(part, slab, ratio, owner), out=worst)
    previous = [task.columns for task in state.tasks]
    catch.close()
    state.done_sweeps += 1
    at = 0
    for k, task in enumerate(state.tasks):
        for point in points[k]:
            _certify_point(state, task, point, float(worst[at]), stacked[at], problem)
            at += 1
        if len(task.columns) > len(previous[k]):
            coef = np.zeros((len(task.coef), len(task.columns)))
            coef[:, np.searchsorted(task.columns, previous[k])] = task.coef
            task.coef = coef


def _certify_point(state: Solved, task: Task, point: int, ratio: float, residual: Floats, problem: Problem) -> None:
    """Violation and duality gap of one solution. `ratio` is max |gradient| / lambda over the columns left out."""
    task.violation[point] = max(task.violation[point], ratio - 1)
    rows = np.flatnonzero(task.weight)
    weight = task.weight[rows]
    # The residual shrunk until every column obeys |x'r| <= lambda is dual feasible; the dual value is its entropy.
    wrong = np.clip(np.abs(residual[rows]) / weight / (1 + task.violation[point]), 1e-300, 1 - 1e-16)
    entropy = -wrong * np.log(wrong) - (1 - wrong) * np.log1p(-wrong)
    task.gap[point] = max(0.0, task.objective[point] - float(weight @ entropy))
    if task.violation[point] <= problem.tolerance:
        task.sweeps[point] = state.done_sweeps


class _Catch:
    """Collects during a sweep, for every path, the columns with the largest |gradient| / lambda above a threshold."""

    def __init__(self, state: Solved, problem: Problem, memory: int, threshold: float) -> None:
        self.state, self.scaled, self.memory = state, problem.standardize, memory
        paths, rows = len(state.tasks), state.matrix.shape[0]
        self.limit = memory // (8 * rows)
        self.batch = int(np.clip(self.limit // paths, 100, BATCH))
        self.threshold = np.full(paths, threshold)
        self.best = np.zeros(paths)
        self.found: list[list[tuple[Indices, Float32s]]] = [[] for _ in range(paths)]
        self.columns: list[Indices] = []
        self.values: list[Float32s] = []

    def offer(self, part: slice, slab: Float32s, gradient: Float32s, owner: Indices) -> Floats:
        """Look at one slab. `gradient` [fits, columns] is |X'r| / lambda before scaling, `owner` each fit's path.

        Returns the largest value of each fit over the columns that are no candidates of its path.
        """
        width = gradient.shape[1]
        needed = np.zeros(width, dtype=bool)
        worst = np.zeros(len(gradient))
        for k in np.unique(owner):
            task, mine = self.state.tasks[k], np.flatnonzero(owner == k)
            block = gradient[mine[0] : mine[-1] + 1]
            if self.scaled:
                block /= self.state.scale[task.moments, part]
            low, high = np.searchsorted(task.columns, [part.start, part.start + width])
            block[:, task.columns[low:high] - part.start] = 0
            worst[mine] = block.max(axis=1)
            score = block.max(axis=0) if len(block) > 1 else block[0]
            self.best[k] = max(self.best[k], worst[mine].max())
            places = np.flatnonzero(score > self.threshold[k])
            if len(places) > self.batch:
                places = places[np.argpartition(-score[places], self.batch)[: self.batch]]
            if not len(places):
                continue
            needed[places] = True
            self.found[k].append((places + part.start, score[places].copy()))
            if sum(len(columns) for columns, _ in self.found[k]) > 2 * self.batch:
                self._prune(k)
        if self.state.matrix.in_memory:
            return worst
        fresh = np.flatnonzero(needed)
        self.columns.append(fresh + part.start)
        self.values.append(np.ascontiguousarray(slab[:, fresh].T))
        if sum(map(len, self.columns)) > 2 * self.limit:
            self._drop()
        return worst

    def _prune(self, k: int) -> None:
        """Keep the path's best columns only; what comes later must beat the worst of them."""
        if not self.found[k]:
            return
        columns = np.concatenate([columns for columns, _ in self.found[k]])
        score = np.concatenate([score for _, score in self.found[k]])
        if len(columns) > self.batch:
            top = np.argpartition(-score, self.batch)[: self.batch]
            columns, score = columns[top], score[top]
            self.threshold[k] = max(self.threshold[k], float(score.min()))
        self.found[k] = [(columns, score)]

    def _wanted(self) -> Indices:
        kept = [columns for found in self.found for columns, _ in found]
        return np.unique(np.concatenate(kept)) if kept else np.empty(0, dtype=np.int64)

    def _drop(self) -> None:
        """Let go of the values of columns that no path wants any more."""
        columns = np.concatenate(self.columns)
        keep = np.isin(columns, self._wanted())
        values = np.concatenate(self.values)[keep] if keep.any() else self.values[0][:0]
        self.columns, self.values = [columns[keep]], [values]

    def close(self) -> Floats:
        """Hand the columns to their paths; the largest value of each path."""
        for k in range(len(self.found)):
            self._prune(k)
        if self.state.matrix.in_memory:
            wanted = self._wanted()
            wanted = wanted[~np.isin(wanted, self.state.columns)]
            self.state.take_in(wanted, self.state.matrix.gather(wanted, self.memory))
        elif self.columns:
            self._drop()
            self.state.take_in(self.columns[0], self.values[0])
        for task, found in zip(self.state.tasks, self.found, strict=True):
            if found:
                task.columns = np.union1d(task.columns, found[0][0])
        return self.best
