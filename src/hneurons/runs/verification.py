"""Whether what is stored below a folder is what was written, and says what its kind of file must say."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from hneurons.benchmarks.sweeps import RESULTS, load_sweep
from hneurons.core.artifacts import MANIFEST, PENDING, ROWS, RUN_JSON, Manifest
from hneurons.core.errors import HNeuronsError
from hneurons.core.files import read_checked
from hneurons.core.rows import from_row
from hneurons.core.timing import TIMING, Spent
from hneurons.core.verification import FileCheck, State, verify_folder
from hneurons.detection.detector import DETECTOR_JSON, DETECTOR_TENSORS, Detector
from hneurons.interventions.export.target import EXPORT_JSON
from hneurons.neurons.neuron_set import NEURONS_JSON, NEURONS_TENSORS, NeuronSet
from hneurons.neurons.opening import RELEASE_JSON
from hneurons.records.record import RUN_STAGE, RunSettings
from hneurons.releases.release import CARD, CARD_MARK, load_release
from hneurons.runs.folder import PARTS
from hneurons.runs.plan import TRAIN, RunPlan


def verify_stored(folder: Path) -> list[FileCheck]:
    """As `verify_folder`; each file whose hash fits is also read as what its name says it is.

    A file that cannot stand alone, such as rows without their manifest, makes the one that it lacks count as damaged.
    Raises what `verify_folder` raises.
    """
    found = {check.path: _read_whole(folder, check) for check in verify_folder(folder)}
    for check in _missing(folder, list(found)):
        found.setdefault(check.path, check)
    return [found[path] for path in sorted(found)]


def _read_whole(folder: Path, check: FileCheck) -> FileCheck:
    path = folder / check.path
    read = _READERS.get(path.name)
    if read is None or check.state == "damaged":
        return check
    try:
        read(path.parent)
    except (HNeuronsError, ValueError, LookupError, TypeError, AttributeError) as error:
        return replace(check, state="damaged", reason=str(error))
    return check


def _read_plan(folder: Path) -> None:
    plan = RunPlan.load(folder)
    plan.datasets()


def _read_manifest(folder: Path) -> None:
    manifest = Manifest.load(folder)
    for name, hint in _MANIFEST.items():
        from_row(hint, getattr(manifest, name))
    if manifest.stage == RUN_STAGE:
        RunSettings.from_row({k: v for k, v in manifest.settings.items() if k in RunSettings.__dataclass_fields__})


def _read_pending(folder: Path) -> None:
    found = read_checked(folder / PENDING)
    from_row(str, found["cause"])
    from_row(list[dict[str, Any]], found["rows"])


def _read_export(folder: Path) -> None:
    about = read_checked(folder / EXPORT_JSON)
    from_row(str, about["format"])
    from_row(float, about["alpha"])
    from_row(list[list[int]], about["neurons"])


def _read_timing(folder: Path) -> None:
    for spent in read_checked(folder / TIMING).values():
        Spent.from_row(spent)


_MANIFEST: dict[str, type] = {"stage": str, "settings": dict, "inputs": dict, "done": int, "summary": dict}
_READERS: dict[str, Callable[[Path], object]] = {
    RUN_JSON: _read_plan,
    RESULTS: load_sweep,
    MANIFEST: _read_manifest,
    PENDING: _read_pending,
    TIMING: _read_timing,
    NEURONS_JSON: NeuronSet.load,
    DETECTOR_JSON: Detector.load,
    RELEASE_JSON: load_release,
    EXPORT_JSON: _read_export,
}

_NEEDS: dict[str, tuple[str, ...]] = {
    MANIFEST: (
        *(ROWS, PENDING, "shard-*.safetensors", "residual-*.safetensors"),
        *("state.safetensors", "drift.safetensors"),
        *("evaluation.json", "rivals.json", "transfer.json", "origin.json"),
    ),
    NEURONS_JSON: (NEURONS_TENSORS, DETECTOR_JSON),
    DETECTOR_JSON: (DETECTOR_TENSORS,),
}
"""File -> the files that were never written without it."""
_STAGES_OF_FIT = ("cross-validation", "stability")


def _missing(folder: Path, paths: list[str]) -> Iterator[FileCheck]:
    """What must have been beside the files that are there, and is not."""
    for path in (folder / name for name in paths):
        place = path.parent
        for needed, kinds in _NEEDS.items():
            if any(fnmatch(path.name, kind) for kind in kinds):
                yield from _lacking(folder, place / needed, f"{path.name} was never written without it")
        if path.name != MANIFEST:
            continue
        if place.name in _STAGES_OF_FIT and (place.parent / DETECTOR_JSON).is_file():
            yield from _lacking(folder, place.parent / MANIFEST, f"{place.name} was never written without it")
        if place.parent.name == TRAIN and place.name in PARTS:
            yield from _lacking(folder, place.parent.parent / RUN_JSON, f"{TRAIN} was never written without it")
        if _finished_benchmark(place):
            reason = "is missing: give the same 'bench' again, which makes it from what is there"
            yield from _lacking(folder, place.parent / RESULTS, reason, "unfinished")
    for place in {folder, *((folder / name).parent for name in paths)}:
        if (place / CARD).is_file() and CARD_MARK in (place / CARD).read_bytes():
            yield from _lacking(folder, place / RELEASE_JSON, f"{CARD} is that of a release")


def _lacking(folder: Path, path: Path, reason: str, state: State = "damaged") -> Iterator[FileCheck]:
    if folder in path.parents and not path.is_file():
        said = reason if state != "damaged" else f"is missing; {reason}"
        yield FileCheck(str(path.relative_to(folder)), state, said)


def _finished_benchmark(place: Path) -> bool:
    try:
        manifest = Manifest.load(place)
    except HNeuronsError:
        return False
    return manifest.stage == RUN_STAGE and manifest.complete and (place.parent / "neurons").is_dir()
