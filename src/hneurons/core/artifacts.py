"""Resumable results on disk: a folder with `manifest.json` and the rows or shards it vouches for.

A stage writes in chunks. The manifest is replaced atomically after each chunk and says how many chunks and bytes
are good, so a run killed at any moment goes on from the last whole chunk and ends with the same bytes. Complete
means done == expected. A folder made with other settings is an error that names the field, never silently reused.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Self, TypeVar, get_origin

from hneurons.core.errors import ArtifactError, InputError, StorageError
from hneurons.core.seeds import fingerprint

T = TypeVar("T")
SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
ROWS = "rows.jsonl"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@cache
def package_versions() -> dict[str, str]:
    """Versions of the packages that can change a number."""
    found = {}
    for name in ("hneurons", "torch", "transformers", "tokenizers", "numpy", "scikit-learn"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` while writing into a `StorageError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            reason = "the disk is full: free some space and run the same command again; finished chunks are kept"
        else:
            reason = f"{error.strerror}: choose another folder or mend its permissions"
        raise StorageError(f"could not write {path}: {reason}") from error


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replace `path` by `data` in one step, so that a reader or a killed run never sees half a file."""
    with storage_errors(path):
        temporary = path.with_name(path.name + ".tmp")
        with open(temporary, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


def file_hash(path: Path) -> str:
    """16 hex digits of the file's content (BLAKE2b)."""
    digest = hashlib.blake2b(digest_size=8)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@dataclass
class Manifest:
    """What a result folder is: the settings and inputs that determine its content, and how far it has come."""

    stage: str
    settings: dict[str, Any]
    inputs: dict[str, str] = field(default_factory=dict)
    expected: int = 0
    done: int = 0
    bytes: int = 0
    complete: bool = False
    content: str = ""
    summary: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=package_versions)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        for item in fields(self):
            kind: Any = get_origin(item.type) or item.type
            if not isinstance(getattr(self, item.name), kind):
                raise TypeError(f"{item.name} is {getattr(self, item.name)!r}")

    @property
    def fingerprint(self) -> str:
        """Identifies the content by its causes, whether finished or not."""
        return fingerprint([self.schema_version, self.stage, self.settings, self.inputs, self.expected])

    def save(self, folder: Path) -> None:
        write_atomic(folder / MANIFEST, json.dumps(asdict(self), indent=1, ensure_ascii=False, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder's manifest. Raises `InputError` where there is none, `ArtifactError` where it is damaged."""
        path = folder / MANIFEST
        if not path.is_file():
            raise InputError(
                f"{folder} is no hneurons result: it has no {MANIFEST}; run the stage that makes it, or give its folder"
            )
        try:
            row = dict(json.loads(path.read_text(encoding="utf-8")))
            version = row.get("schema_version", SCHEMA_VERSION)
            if version != SCHEMA_VERSION:
                raise ArtifactError(
                    f"{path} has schema version {version}, this version reads {SCHEMA_VERSION}: run the stage again"
                )
            return cls(**row)
        except (ValueError, TypeError) as error:
            raise ArtifactError(f"{path} is damaged ({error}): delete the folder and run the stage again") from error

    def resume(self, folder: Path) -> Self:
        """The manifest to go on with: `self` in a folder where nothing is done, else the stored one.

        Raises `ArtifactError` naming the fields that differ between the two.
        """
        stored = type(self).load(folder) if (folder / MANIFEST).is_file() else None
        if stored is None or not (stored.done or stored.complete):
            with storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            self.save(folder)
            return self
        if stored.fingerprint != self.fingerprint:
            raise ArtifactError(
                f"{folder} holds a result made with other settings ({'; '.join(_differences(stored, self))}): "
                "choose another --out, or delete the folder to start afresh"
            )
        return stored


def _differences(stored: Manifest, wanted: Manifest) -> list[str]:
    pairs: list[tuple[str, Any, Any]] = [("stage", stored.stage, wanted.stage)]
    for name in sorted({*stored.settings, *wanted.settings}):
        pairs.append((name, stored.settings.get(name), wanted.settings.get(name)))
    for name in sorted({*stored.inputs, *wanted.inputs}):
        pairs.append((f"input {name}", stored.inputs.get(name), wanted.inputs.get(name)))
    pairs.append(("size", stored.expected, wanted.expected))
    return [f"{name} was {_short(old)}, now {_short(new)}" for name, old, new in pairs if old != new]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:40]}… ({fingerprint(value)})"


def forget_other(manifest: Manifest, folder: Path) -> None:
    """Let go of a finished result of the same stage with other settings or inputs: it is cheap to make again."""
    if not (folder / MANIFEST).is_file():
        return
    stored = Manifest.load(folder)
    if stored.stage == manifest.stage and stored.fingerprint != manifest.fingerprint:
        (folder / MANIFEST).unlink()


_held: dict[Path, int] = {}
"""Folders this process writes, and the open descriptors whose locks say so; a killed process leaves none."""


def _hold(folder: Path) -> None:
    """Keep other processes from writing the folder until `_release`. Raises `ArtifactError` where one is at it.

    Systems that know no such locks are trusted.
    """
    if os.name != "posix":
        return
    import fcntl

    path = folder.resolve()
    if path in _held and os.path.samestat(os.fstat(_held[path]), os.stat(path)):
        return
    _release(folder)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ArtifactError(
            f"another process is writing {folder}: wait until it has ended, or choose another --out"
        ) from error
    except OSError:
        pass
    _held[path] = descriptor


def _release(folder: Path) -> None:
    descriptor = _held.pop(folder.resolve(), None)
    if descriptor is not None:
        os.close(descriptor)


class RowStore:
    """Rows written chunk by chunk to `out/rows.jsonl`, or kept in memory where `out` is None.

    `done` chunks are already there after a resume, with their rows in `rows`. `expected` counts chunks; a stage that
    may stop early (quotas full) says so with `finish`. Until then no other process may open the folder to write.
    """

    def __init__(
        self,
        out: Path | None,
        *,
        stage: str,
        settings: dict[str, Any],
        inputs: dict[str, str] | None = None,
        expected: int,
    ) -> None:
        self.out = out
        self.rows: list[dict[str, Any]] = []
        self.manifest = Manifest(stage=stage, settings=_plain(settings), inputs=inputs or {}, expected=expected)
        if out is not None:
            with storage_errors(out):
                out.mkdir(parents=True, exist_ok=True)
                _hold(out)
            try:
                self.manifest = self.manifest.resume(out)
                self._recover(out / ROWS)
            except BaseException:
                _release(out)
                raise
            if self.complete:
                _release(out)

    def _recover(self, path: Path) -> None:
        """Cut off what a killed run left behind the last whole chunk, and read the rest."""
        size = path.stat().st_size if path.exists() else 0
        if size < self.manifest.bytes:
            raise ArtifactError(
                f"{path} has {size} bytes where its manifest counts {self.manifest.bytes}: "
                "delete the folder and run the stage again"
            )
        with storage_errors(path), open(path, "ab") as file:
            file.truncate(self.manifest.bytes)
        _check_content(path, self.manifest)
        self.rows = read_jsonl(path)

    @property
    def done(self) -> int:
        return self.manifest.done

    @property
    def complete(self) -> bool:
        return self.manifest.complete

    def commit(self, rows: list[dict[str, Any]]) -> None:
        """Add one chunk of rows durably. Raises `StorageError` when they cannot be written."""
        assert self.manifest.done < self.manifest.expected, "a chunk that is there already is written again"
        self.rows.extend(rows)
        self.manifest.done += 1
        if self.out is None:
            return
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        with storage_errors(self.out / ROWS), open(self.out / ROWS, "ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self.manifest.bytes += len(data)
        self.manifest.save(self.out)

    def finish(self, summary: dict[str, Any]) -> None:
        """Mark the result complete. `summary` holds the stage's counts, shown by `show` and the report."""
        self.manifest.complete, self.manifest.summary = True, _plain(summary)
        if self.out is not None:
            self.manifest.content = file_hash(self.out / ROWS)
            self.manifest.save(self.out)
            _release(self.out)
        else:
            self.manifest.content = fingerprint(self.rows)


def _plain(value: Any) -> Any:
    """The value as JSON gives it back (tuples become lists), so that stored and wanted settings compare equal."""
    return json.loads(json.dumps(value))


def load_rows(folder: Path, *, stage: str | None = None) -> tuple[Manifest, list[dict[str, Any]]]:
    """A finished result's manifest and rows.

    Raises `InputError` when it is of another stage, `ArtifactError` when it is incomplete or its bytes have changed.
    """
    manifest = Manifest.load(folder)
    if stage is not None and manifest.stage != stage:
        raise InputError(f"{folder} holds {manifest.stage}, not {stage}: give the --out folder of '{stage}'")
    if not manifest.complete:
        raise ArtifactError(
            f"{folder} is unfinished ({manifest.done} of {manifest.expected} chunks): "
            f"run the command that made it again, it goes on where it stopped"
        )
    _check_content(folder / ROWS, manifest)
    return manifest, read_jsonl(folder / ROWS)


def _check_content(path: Path, manifest: Manifest) -> None:
    if manifest.complete and (not path.is_file() or file_hash(path) != manifest.content):
        raise ArtifactError(f"{path} was changed after it was written: run the stage again in a new folder")


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All rows of a JSONL file. Raises `ArtifactError` naming the line that is no JSON object."""
    rows = []
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise ArtifactError(f"{path}, line {number}, is not JSON ({error})") from error
    return rows


def keep_result(folder: Path, name: str, row: Any, manifest: Manifest) -> None:
    """Write a stage's only file, JSON, and mark the stage complete. Raises `StorageError`."""
    write_atomic(folder / name, json.dumps(row, ensure_ascii=False) + "\n")
    manifest.done, manifest.complete, manifest.content = 1, True, file_hash(folder / name)
    manifest.save(folder)


def read_result(folder: Path, name: str, parse: Callable[[Any], T], *, stage: str, verb: str) -> T:
    """What `keep_result` wrote, parsed. Raises `InputError` for another stage's folder, `ArtifactError` for damage."""
    manifest = Manifest.load(folder)
    if manifest.stage != stage:
        raise InputError(f"{folder} holds {manifest.stage}, not {stage}: give the folder that '{verb}' writes")
    try:
        if file_hash(folder / name) != manifest.content:
            raise ValueError("it was changed after it was written")
        return parse(json.loads((folder / name).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{folder / name} is missing or damaged ({error}): run '{verb}' again") from error
