"""The results of a sweep on disk: read, merged with those of other benchmarks, and written under a lock."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hneurons.benchmarks.results import BenchmarkResult, summarize_run
from hneurons.benchmarks.runner import BenchmarkRun, read_benchmark_run
from hneurons.core.artifacts import load_rows
from hneurons.core.errors import ArtifactError, InputError
from hneurons.core.files import read_checked, storage_errors, stored_errors, write_checked
from hneurons.core.locks import FolderLock
from hneurons.core.rows import to_row
from hneurons.core.seeds import fingerprint
from hneurons.records.record import RUN_STAGE

if TYPE_CHECKING:
    from hneurons.neurons.neuron_set import NeuronSet

RESULTS = "results.json"
_WAIT = 30.0  # seconds to wait for another bench that is writing its results


def neurons_id(neurons: "NeuronSet") -> str:
    """What `about["neurons"]` of a sweep of these neurons says."""
    return fingerprint([neurons.identity.weights, *neurons.columns.tolist()])


class Sweep(NamedTuple):
    """What was scaled, and the results by benchmark."""

    about: dict[str, Any]
    results: dict[str, BenchmarkResult]


def load_sweep(folder: Path) -> Sweep:
    """The results a sweep left in its folder; where an earlier version made them, its records are summarised again.

    Raises `ArtifactError` where they are damaged.
    """
    path = folder / RESULTS
    try:
        row = read_checked(path)
        odd = [name for name in row["benchmarks"] if name in ("", ".", "..") or {"/", "\\"} & set(name)]
        if odd:
            raise ValueError(f"{odd[0]!r} is no name of a benchmark")
        found = {
            name: BenchmarkResult.from_row(value) if "against" in value else summarize_run(_read_run(folder / name))
            for name, value in row["benchmarks"].items()
        }
        return Sweep(dict(row["about"]), found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise ArtifactError(
            f"{path} is damaged ({error}): delete it and run the same 'bench' again, it reads its finished records"
        ) from error


def _read_run(folder: Path) -> BenchmarkRun:
    try:
        manifest, rows = load_rows(folder, stage=RUN_STAGE)
    except (InputError, ArtifactError) as error:
        raise ArtifactError(
            f"{folder.parent / RESULTS} is of an earlier version and its records in {folder} are no longer whole: "
            "delete both and run 'bench' again"
        ) from error
    with stored_errors(folder):
        return read_benchmark_run(manifest, rows)


def results_json(results: Mapping[str, BenchmarkResult], about: Mapping[str, Any]) -> dict[str, Any]:
    """All results of a sweep as plain JSON values (unknown numbers are null), with what the sweep was."""
    row: dict[str, Any] = to_row({"about": dict(about), "benchmarks": dict(results)})
    return row


def save_sweep(folder: Path, results: Mapping[str, BenchmarkResult], about: Mapping[str, Any]) -> Sweep:
    """Write results of a sweep beside those of other benchmarks that are there by now, and return them all.

    The folder is locked meanwhile, so that benchmarks run side by side keep each other's results. Raises `InputError`
    where the folder holds another sweep, `StorageError`.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(folder, wait=_WAIT)
    try:
        merged = {**earlier_results(folder, about), **results}
        write_checked(folder / RESULTS, results_json(merged, about))
    finally:
        lock.release()
    return Sweep(dict(about), merged)


def earlier_results(folder: Path, about: Mapping[str, Any]) -> dict[str, BenchmarkResult]:
    """Results of a sweep's other benchmarks in its folder. Raises `InputError` where they are of another sweep."""
    if not (folder / RESULTS).is_file():
        return {}
    earlier, wanted = load_sweep(folder), to_row(dict(about))
    changed = [name for name in wanted if name != "versions" and earlier.about.get(name) != wanted[name]]
    if changed:
        raise InputError(f"{folder} holds another sweep (it differs in {', '.join(changed)}): choose another --out")
    return earlier.results
