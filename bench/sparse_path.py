"""Measure the sparse path at the shapes of real models.

    python bench/sparse_path.py [--quick] [--case NAME] [--folder DIR]

Cases: liblinear (4,000 x 46,080, against one liblinear fit), gemma (2,000 x 348,160 in memory), llama (2,000 x
2,293,760 from disk, with stability selection) and rivals (adelie and skglm, where installed). `--quick` divides the
neurons by 10. Each case runs in a process of its own, so that its peak memory is its own.
"""

import argparse
import importlib.util
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from measuring import record
from synthetic import make_labels, make_layers, write_shards

from hneurons.sparse.matrix import ShardMatrix
from hneurons.sparse.path import SparsePath, fit_path
from hneurons.sparse.stability import select_stability

T = TypeVar("T")


def in_memory(rows: int, layers: int, neurons: int) -> tuple[np.ndarray, np.ndarray]:
    labels = make_labels(rows)
    features = np.empty((rows, layers * neurons), np.float16)
    for layer, block in enumerate(make_layers(labels, layers, neurons)):
        features[:, layer * neurons : (layer + 1) * neurons] = block
    return features, labels


def warm_up() -> None:
    """Load the libraries that a fit imports, so that no case pays for it."""
    labels = make_labels(40)
    fit_path(next(iter(make_layers(labels, 1, 100))), labels)


class Seconds(NamedTuple):
    """Wall time, and processor time of all threads, which other work on the machine disturbs less."""

    wall: float
    processor: float

    def __str__(self) -> str:
        return f"{self.wall:.1f} s ({self.processor:.1f} s of processor time)"


def timed(function: Callable[[], T]) -> tuple[T, Seconds]:
    wall, processor = time.perf_counter(), time.process_time()
    result = function()
    return result, Seconds(time.perf_counter() - wall, time.process_time() - processor)


class Resident:
    """Peak resident memory in GiB while the block runs, sampled; `before` is what was there at its start."""

    def __enter__(self) -> "Resident":
        self.before = self.peak = self._now()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.peak = max(self.peak, self._now())

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.peak = max(self.peak, self._now())

    @staticmethod
    def _now() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**30


def report_path(name: str, path: SparsePath, seconds: Seconds, resident: Resident) -> None:
    sizes = [len(path.support(point)) for point in range(len(path.lambdas))]
    worst = max(certificate.violation for certificate in path.certificates)
    gap = max(certificate.gap / certificate.objective for certificate in path.certificates)
    sweeps = max(certificate.sweeps for certificate in path.certificates)
    print(
        f"{name}: {seconds}, peak resident {resident.peak:.2f} GiB ({resident.before:.2f} before), "
        f"{sweeps} sweeps, {len(sizes)} points, columns {sizes}, worst violation {worst:.1e} of lambda, "
        f"worst relative gap {gap:.1e}"
    )
    if path.stopped:
        print(f"  {path.stopped}")


def run_liblinear(divide: int, folder: Path) -> None:
    """liblinear's own problem (penalised intercept, float64), standardised columns given to both."""
    features, labels = in_memory(4000, 30, 1536 // divide)
    features = features.astype(np.float32)
    features -= features.mean(axis=0)
    features /= np.maximum(features.std(axis=0), 1e-12)
    with Resident() as resident:
        whole, seconds = timed(lambda: fit_path(features, labels, standardize=False, intercept="penalized"))
    report_path("path of 15 points, liblinear's problem", whole, seconds, resident)
    double = features.astype(np.float64)
    found = {"hneurons, path of 15 points": [seconds.processor]}
    for point in (len(whole.C) // 2, -1):
        C = float(whole.C[point])
        theirs = compare_liblinear(features, double, labels, C, seconds)
        found[f"liblinear, one fit at C = {C:.4g}"] = [theirs.processor]
    record(f"sparse path, {features.shape[0]:,} x {features.shape[1]:,}", found, "s")


def compare_liblinear(
    features: np.ndarray, double: np.ndarray, labels: np.ndarray, C: float, path_seconds: Seconds
) -> Seconds:
    from sklearn.linear_model import LogisticRegression

    ours, seconds = timed(lambda: fit_path(features, labels, C=[C], standardize=False, intercept="penalized"))
    solver = LogisticRegression(l1_ratio=1, solver="liblinear", C=C, max_iter=1000)
    with Resident() as resident:
        theirs, their_seconds = timed(lambda: solver.fit(double, labels))

    def objective(coef: np.ndarray, intercept: float) -> float:
        loss = np.logaddexp(0, (1 - 2 * labels) * (double @ coef + intercept)).mean()
        return float(loss + ours.lambdas[0] * (np.abs(coef).sum() + abs(intercept)))

    coef = np.zeros(features.shape[1])
    coef[ours.columns] = ours.coef[0]
    mine, other = set(ours.support(0).tolist()), set(np.flatnonzero(theirs.coef_[0]).tolist())
    sizes = [max(abs(coef[column]), abs(theirs.coef_[0][column])) for column in mine ^ other]
    excess = objective(theirs.coef_[0], theirs.intercept_[0]) - objective(coef, ours.intercepts[0])
    print(
        f"liblinear, one fit at C = {C:.4g}: {their_seconds}, {their_seconds.wall / path_seconds.wall:.1f} times the "
        f"whole path's ({their_seconds.processor / path_seconds.processor:.1f} in processor time), peak resident "
        f"{resident.peak:.2f} GiB; this C alone {seconds} here\n"
        f"  support {len(mine)} and {len(other)} columns, {len(mine & other)} shared, largest coefficient not shared "
        f"{max(sizes, default=0.0):.1e} of {np.abs(coef).max():.1e}; liblinear's objective is higher by {excess:.1e}"
    )
    return their_seconds


def run_gemma(divide: int, folder: Path) -> None:
    features, labels = in_memory(2000, 34, 10240 // divide)
    for name, standardize in (("standardised", True), ("raw", False)):
        with Resident() as resident:
            path, seconds = timed(lambda standardize=standardize: fit_path(features, labels, standardize=standardize))
        report_path(f"gemma shape {features.shape}, {name}", path, seconds, resident)
        record(f"sparse path, 2,000 x {features.shape[1]:,}, {name}", {"hneurons": [seconds.processor]}, "s")


def run_llama(divide: int, folder: Path) -> None:
    rows, layers, neurons = 2000, 80, 28672 // divide
    labels = make_labels(rows)
    place = Path(tempfile.mkdtemp(dir=folder, prefix="contributions-"))
    try:
        _, seconds = timed(lambda: write_shards(place, labels, layers, neurons))
        size = sum(file.stat().st_size for file in place.glob("*.safetensors")) / 1e9
        print(f"wrote {size:.1f} GB in {seconds}")
        matrix = ShardMatrix(place)
        with Resident() as resident:
            path, seconds = timed(lambda: fit_path(matrix, labels))
        report_path(f"llama shape {matrix.shape} from disk", path, seconds, resident)
        record(f"sparse path, {rows:,} x {layers * neurons:,}, from disk", {"hneurons": [seconds.processor]}, "s")
        groups = list(range(rows))
        with Resident() as resident:
            stable, seconds = timed(lambda: select_stability(matrix, labels, groups))
        print(
            f"50 half-samples x {len(stable.lambdas)} lambdas: {seconds}, peak resident {resident.peak:.2f} GiB, "
            f"{len(stable.select(0.6))} columns at 0.6 or more, bound on false ones "
            f"{stable.expected_false_selections(0.6):.2f}, half-samples reaching each lambda {stable.reached.tolist()}"
        )
    finally:
        shutil.rmtree(place)


def run_rivals(divide: int, folder: Path) -> None:
    """The same path at 2,000 x 46,080 by adelie (group-lasso GLM) and skglm (working sets)."""
    features, labels = in_memory(2000, 30, 1536 // divide)
    features = features.astype(np.float64)
    features -= features.mean(axis=0)
    features /= np.maximum(features.std(axis=0), 1e-12)
    with Resident() as resident:
        path, seconds = timed(lambda: fit_path(features, labels))
    report_path("hneurons", path, seconds, resident)
    dense = np.zeros((len(path.lambdas), features.shape[1]))
    dense[:, path.columns] = path.coef
    found = {"hneurons": [seconds.processor]}
    for name, solve in (("skglm", solve_skglm), ("adelie", solve_adelie)):
        if importlib.util.find_spec(name) is None:
            print(f"{name} is not installed here: left out")
            continue
        solve(features[:50, :20], labels[:50], path.lambdas[:2])  # compilation is not counted
        with Resident() as resident:
            (coefs, intercepts), other = timed(lambda solve=solve: solve(features, labels, path.lambdas))
        found[name] = [other.processor]
        excess, jaccard, violation = [], [], []
        for point, lambda_ in enumerate(path.lambdas):
            linear = features @ coefs[point] + intercepts[point]
            value = np.logaddexp(0, (1 - 2 * labels) * linear).mean() + lambda_ * np.abs(coefs[point]).sum()
            excess.append(value - path.certificates[point].objective)
            gradient = features.T @ (labels - 1 / (1 + np.exp(-linear))) / len(labels)
            violation.append(np.abs(gradient).max() / lambda_ - 1)
            ours, theirs = dense[point] != 0, coefs[point] != 0
            jaccard.append((ours & theirs).sum() / max(1, (ours | theirs).sum()))
        print(
            f"{name}: {other}, {other.wall / seconds.wall:.1f} times ours, peak resident {resident.peak:.2f} GiB "
            f"({resident.before:.2f} before), objective above ours by {min(excess):.1e} to {max(excess):.1e}, worst "
            f"violation {max(violation):.1e} of lambda, support overlap (Jaccard) at least {min(jaccard):.3f}"
        )
    record(f"sparse path, {features.shape[0]:,} x {features.shape[1]:,}, the rivals' penalties", found, "s")


def solve_skglm(features: np.ndarray, labels: np.ndarray, lambdas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from skglm.datafits import Logistic
    from skglm.penalties import L1
    from skglm.solvers import ProxNewton

    columns = np.asfortranarray(features)
    signs = 2.0 * labels - 1
    solver = ProxNewton(tol=1e-6, fit_intercept=True, warm_start=True)
    coef, fitted = np.zeros(features.shape[1] + 1), np.zeros(len(labels))
    coefs = []
    for lambda_ in lambdas:
        coef, _, _ = solver.solve(columns, signs, Logistic(), L1(float(lambda_)), w_init=coef, Xw_init=fitted)
        fitted = columns @ coef[:-1] + coef[-1]
        coefs.append(coef.copy())
    return np.array(coefs)[:, :-1], np.array(coefs)[:, -1]


def solve_adelie(features: np.ndarray, labels: np.ndarray, lambdas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import adelie

    state = adelie.grpnet(
        X=np.asfortranarray(features),
        glm=adelie.glm.binomial(y=labels.astype(np.float64), dtype=np.float64),
        lmda_path=lambdas,
        early_exit=False,
        tol=1e-9,
        irls_tol=1e-9,
        progress_bar=False,
        n_threads=1,
    )
    return np.asarray(state.betas.todense()), np.asarray(state.intercepts)


def run_rivals_in_their_own(divide: int, folder: Path) -> None:
    """`rivals` in the environment of the peers, where there is one: hneurons' solver needs nothing they lack."""
    own = Path(__file__).parents[1] / ".venv-peers" / "bin" / "python"
    python, source = own if own.is_file() else sys.executable, Path(__file__).parents[1] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source)}
    command = [python, __file__, "--case", "rivals-here", *(["--quick"] if divide > 1 else [])]
    subprocess.run(command, check=True, env=environment)


CASES = {"liblinear": run_liblinear, "gemma": run_gemma, "llama": run_llama, "rivals": run_rivals_in_their_own}
HIDDEN = {"rivals-here": run_rivals}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the neurons")
    parser.add_argument("--case", choices=[*CASES, *HIDDEN], help="one case only")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where llama's 9.2 GB go")
    options = parser.parse_args()
    if options.case:
        warm_up()
        (CASES | HIDDEN)[options.case](10 if options.quick else 1, options.folder)
        return
    for case in CASES:
        print(f"== {case}", flush=True)
        command = [sys.executable, __file__, "--case", case, "--folder", str(options.folder)]
        subprocess.run([*command, *(["--quick"] if options.quick else [])], check=True)


if __name__ == "__main__":
    main()
