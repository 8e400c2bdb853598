"""Whether what is stored below a folder is what was written, and says what its kind of file must say."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hneurons.benchmarks.sweeps import RESULTS, load_sweep
from hneurons.core.artifacts import MANIFEST, Manifest
from hneurons.core.errors import HNeuronsError
from hneurons.core.rows import from_row
from hneurons.core.verification import FileCheck, verify_folder
from hneurons.neurons.opening import RUN_JSON
from hneurons.records.record import RUN_STAGE, RunSettings
from hneurons.runs.plan import RunPlan


def verify_stored(folder: Path) -> list[FileCheck]:
    """As `verify_folder`; a file whose hash fits is also read as the plan, the results or the run that it should be.

    Raises what `verify_folder` raises.
    """
    return [_read_whole(folder, check) for check in verify_folder(folder)]


def _read_whole(folder: Path, check: FileCheck) -> FileCheck:
    path = folder / check.path
    read = _READERS.get(path.name)
    if read is None or check.state == "damaged":
        return check
    try:
        read(path.parent)
    except (HNeuronsError, ValueError) as error:
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


_MANIFEST: dict[str, type] = {"stage": str, "settings": dict, "inputs": dict, "done": int, "summary": dict}
_READERS: dict[str, Callable[[Path], object]] = {
    RUN_JSON: _read_plan,
    RESULTS: load_sweep,
    MANIFEST: _read_manifest,
}
