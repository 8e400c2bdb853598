"""Whether everything that was stored below a folder is still what was written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hneurons.core.artifacts import MANIFEST, ROWS, Manifest
from hneurons.core.errors import HNeuronsError, InputError, StorageError
from hneurons.core.files import CHECKSUM, check_row, data_hash, file_hash, read_jsonl
from hneurons.core.rows import Row, load_json

State = Literal["whole", "unchecked", "unfinished", "damaged"]
_DATA = (".json", ".jsonl", ".safetensors")


@dataclass(frozen=True, slots=True)
class FileCheck(Row):
    """One file: its path below the folder, how it is, and why.

    - `whole`: its hash is recorded and fits.
    - `unchecked`: no hash of it is recorded, as by earlier versions or for files of other origin.
    - `unfinished`: the manifest of a stage that is not complete, whose files are checked as far as they go.
    - `damaged`: missing, changed after it was written, or unreadable.
    """

    path: str
    state: State
    reason: str = ""


class _Record(NamedTuple):
    """The hashes a file may have; of the rows of an unfinished stage, of their first `size` bytes."""

    hashes: set[str]
    size: int | None
    by: str


def verify_folder(folder: Path) -> list[FileCheck]:
    """Check every JSON, JSONL and tensor file below `folder`, and others with a hash, in the order of their paths.

    Links are not followed.

    Raises `InputError` where it is no folder or holds no such file, `StorageError` where it cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: give the folder of a run, a stage, a detector or a release")
    try:
        paths = sorted(p for p in folder.rglob("*") if p.suffix in _DATA and p.is_file() and not p.is_symlink())
        found, records = _read_records(paths)
        for path in paths:
            if path in found and found[path].state == "damaged":
                continue
            if path in records:
                found[path] = _check_hash(path, records[path])
            found.setdefault(path, _parse(path))
        for path, record in records.items():
            if path not in found and path.is_file() and not path.is_symlink():
                found[path] = _check_hash(path, record)
            elif path not in found:
                found[path] = FileCheck("", "damaged", f"is missing; {record.by} says that it was written")
    except OSError as error:
        raise StorageError(f"{folder} cannot be read: {error.strerror} ({error.filename})") from error
    if not found:
        raise InputError(f"{folder} holds nothing that hneurons wrote: give the folder of a run, a stage or a release")
    return [
        FileCheck(str(path.relative_to(folder)), check.state, check.reason) for path, check in sorted(found.items())
    ]


def _read_records(paths: list[Path]) -> tuple[dict[Path, FileCheck], dict[Path, _Record]]:
    """The manifests and other JSON files that vouch for themselves, and what they say of the files beside them."""
    found: dict[Path, FileCheck] = {}
    records: dict[Path, _Record] = {}
    for path in (p for p in paths if p.suffix == ".json"):
        try:
            row = load_json(path.read_bytes())
            if path.name == MANIFEST and type(row) is dict and "stage" in row:
                manifest = Manifest.load(path.parent)
                records |= _stage_records(path, manifest)
                if not manifest.complete:
                    reason = f"{manifest.done} of {manifest.expected} parts are done"
                    found[path] = FileCheck("", "unfinished", reason)
                    continue
            if type(row) is dict and CHECKSUM in row:
                check_row(dict(row))
                found[path] = FileCheck("", "whole")
            records |= {path.parent / name: _Record({value}, None, path.name) for name, value in _named(row).items()}
        except (HNeuronsError, ValueError) as error:
            found[path] = FileCheck("", "damaged", str(error))
    return found, records


def _stage_records(path: Path, manifest: Manifest) -> dict[Path, _Record]:
    """What a manifest says of the files of its stage; earlier versions had one hash, of the rows or the only result."""
    files = dict(manifest.files)
    if manifest.complete and not files and manifest.content and (path.parent / ROWS).is_file():
        files[ROWS] = manifest.content
    if not manifest.complete and not manifest.bytes and (path.parent / ROWS).is_file():
        files[ROWS] = data_hash(b"")  # of no bytes: what stands there counts for nothing, and is cut off
    files |= {name: value for name, value in manifest.summary.get("shards", {}).items() if name not in files}
    found = {}
    for name, value in files.items():
        size = manifest.bytes if name == ROWS and not manifest.complete else None
        if "/" not in name and "\\" not in name:
            found[path.parent / name] = _Record({value, manifest.replaced.get(name, value)}, size, MANIFEST)
    return found


def _named(row: Any) -> dict[str, str]:
    """Files beside a JSON file of which it holds the hash; a manifest's are read with the manifest."""
    files = row.get("files") if type(row) is dict and "stage" not in row else None
    if type(files) is not dict:
        return {}
    return {k: v for k, v in files.items() if isinstance(v, str) and "/" not in k and "\\" not in k and k != ".."}


def _check_hash(path: Path, record: _Record) -> FileCheck:
    if file_hash(path, record.size) in record.hashes:
        return FileCheck("", "whole")
    return FileCheck("", "damaged", f"was changed after it was written: {record.by} holds another hash")


def _parse(path: Path) -> FileCheck:
    """A file of which no hash is known: at least it can be read."""
    try:
        if path.suffix == ".jsonl":
            read_jsonl(path)
        elif path.suffix == ".json":
            load_json(path.read_bytes())
    except (HNeuronsError, ValueError) as error:
        return FileCheck("", "damaged", f"cannot be read ({error})")
    return FileCheck("", "unchecked", "no hash of it was recorded")
