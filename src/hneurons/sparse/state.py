"""What a batch of path fits is and how far it has come, in memory and, between sweeps, in a folder."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hneurons.core.artifacts import FileStage
from hneurons.core.errors import MAKE_AGAIN, ArtifactError
from hneurons.sparse.inner import Floats
from hneurons.sparse.matrix import ColumnMatrix, Float32s, Indices

STATE = "state.safetensors"


@dataclass(frozen=True)
class Problem:
    """What is minimised: (sum_i w_i log(1 + exp(-s_i f_i))) / (sum_i w_i) + lambda ||v||_1 for each lambda."""

    ratios: tuple[float, ...]
    """The grid as fractions of the first path's largest lambda."""
    lambdas: tuple[float, ...] = ()
    """The grid itself, where given instead."""
    standardize: bool = True
    free_intercept: bool = True
    tolerance: float = 1e-4
    max_features: int = 1000


@dataclass
class Task:
    """One path: the weights of its rows (sum 1, 0 leaves a row out) and how far it has come.

    Candidate number `shape[1]`, one past the last column, is the column of ones of a penalised intercept.
    """

    weight: Floats
    moments: int = 0
    columns: Indices = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    lambda_max: float = 0.0
    coef: Floats = field(default_factory=lambda: np.empty((0, 0)))
    intercept: Floats = field(default_factory=lambda: np.empty(0))
    objective: Floats = field(default_factory=lambda: np.empty(0))
    gap: Floats = field(default_factory=lambda: np.empty(0))
    violation: Floats = field(default_factory=lambda: np.empty(0))
    sweeps: Indices = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Sweeps it took to certify each lambda, 0 where it is not yet certified."""
    length: int = 0
    """Points of the path that are fitted; fewer than the grid where it stopped early."""
    separated: bool = False

    def open_points(self) -> list[int]:
        return [point for point in range(self.length) if not self.sweeps[point]]


class Solved:
    """Paths certified over every column, the candidate columns' values and the moments they were scaled by."""

    def __init__(self, matrix: ColumnMatrix, y: Floats, tasks: Sequence[Task], row_sets: Floats) -> None:
        self.matrix, self.y, self.tasks = matrix, y, list(tasks)
        self.row_sets = row_sets.astype(np.float32)
        self.lambdas = np.empty(0)
        self.done_sweeps = 0
        self.mean = np.empty((0, 0), dtype=np.float32)
        self.scale = np.empty((0, 0), dtype=np.float32)
        self.columns = np.empty(0, dtype=np.int64)
        self.values = np.empty((0, matrix.shape[0]), dtype=np.float32)
        self.workers = 1
        self.pool = ThreadPoolExecutor(1)

    def by_parts(self, function: Callable[[Float32s], Float32s], slab: Float32s) -> Float32s:
        """`function` of a slab, computed on bands of its columns at the same time."""
        edges = np.linspace(0, slab.shape[1], self.workers + 1).astype(int)
        bands = [slab[:, low:high] for low, high in pairwise(edges) if low < high]
        return np.concatenate(list(self.pool.map(function, bands)), axis=1)

    def scaled(self, task: Task, columns: Indices, rows: NDArray[Any]) -> Float32s:
        """Candidate columns as path `task` sees them, [columns, rows]."""
        ones = columns == self.matrix.shape[1]
        known = columns[~ones]
        out = np.ones((len(columns), len(rows)), dtype=np.float32)
        values = self.values[np.searchsorted(self.columns, known)]
        if len(rows) < values.shape[1]:
            values = values[:, rows]
        values -= self.mean[task.moments, known, None]
        values /= self.scale[task.moments, known, None]
        out[~ones] = values
        return out

    def take_in(self, columns: Indices, values: Float32s) -> None:
        if not len(columns):
            return
        if not len(self.columns):
            order = np.argsort(columns)
            self.columns, self.values = columns[order], values if (np.diff(order) == 1).all() else values[order]
            return
        fresh = ~np.isin(columns, self.columns)
        merged = np.concatenate([self.columns, columns[fresh]])
        order = np.argsort(merged)
        self.values = np.concatenate([self.values, values[fresh]])[order]
        self.columns = merged[order]


class StateStore:
    """The state after each sweep in a folder, replaced atomically; nothing where `out` is None."""

    def __init__(
        self, out: Path | None, stage: str, settings: dict[str, Any], inputs: dict[str, str], tasks: int
    ) -> None:
        self.out = out
        self.stage = FileStage(out, stage=stage, settings=settings, inputs=inputs, expected=tasks)

    def load(self, state: Solved) -> bool:
        """Fill `state` with what is stored. Raises `ArtifactError` where the file is not the one last written."""
        data, manifest = self.stage.recover(STATE), self.stage.manifest
        if data is None:
            return False
        from safetensors import SafetensorError
        from safetensors.numpy import load

        path = f"{self.out}/{STATE}"
        try:
            tensors = load(data)
            if not manifest.complete and tensors["made_for"].tobytes() != manifest.fingerprint.encode():
                return False  # left by a fit of other settings that had finished no path
            state.mean, state.scale, state.lambdas = tensors["mean"], tensors["scale"], tensors["lambdas"]
            state.done_sweeps = int(tensors["sweeps"][0])
            for k, task in enumerate(state.tasks):
                for name in _ARRAYS:
                    setattr(task, name, tensors[f"{k}.{name}"])
                task.lambda_max = float(tensors[f"{k}.numbers"][0])
                task.length, task.separated = int(tensors[f"{k}.numbers"][1]), bool(tensors[f"{k}.numbers"][2])
        except (SafetensorError, KeyError) as error:
            raise ArtifactError(f"{path} is damaged ({error}): {MAKE_AGAIN}") from error
        return True

    def save(self, state: Solved) -> None:
        if self.out is None:
            return
        from safetensors.numpy import save

        tensors = {"mean": state.mean, "scale": state.scale, "lambdas": state.lambdas}
        tensors["sweeps"] = np.array([state.done_sweeps])
        tensors["made_for"] = np.frombuffer(self.stage.manifest.fingerprint.encode(), dtype=np.uint8)
        for k, task in enumerate(state.tasks):
            for name in _ARRAYS:
                tensors[f"{k}.{name}"] = np.ascontiguousarray(getattr(task, name))
            tensors[f"{k}.numbers"] = np.array([task.lambda_max, task.length, task.separated], dtype=np.float64)
        self.stage.checkpoint(STATE, save(tensors), done=sum(not task.open_points() for task in state.tasks))

    def finish(self, state: Solved) -> None:
        data = None if self.stage.complete else self.stage.recover(STATE)
        if data is not None:
            self.stage.finish({STATE: data}, {"sweeps": state.done_sweeps, "paths": len(state.tasks)})


_ARRAYS = ("columns", "coef", "intercept", "objective", "gap", "violation", "sweeps")
