"""Resumable results on disk: a folder with `manifest.json` and the files it vouches for.

A stage writes whole files (`FileStage`) or rows in chunks (`RowStore`). The manifest is replaced atomically. It
says how far the stage has come, and the hash of every file that it wrote. So a run that is killed at any moment resumes
and ends with the same bytes. A file that was changed afterwards is refused when it is read, as is a manifest whose own
checksum does not fit. Results of earlier versions, which recorded fewer hashes, are read as they are. A folder made
with other settings is an error that names the field, never silently reused.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Self, TypeVar, get_origin

from hneurons.core.errors import MAKE_AGAIN, ArtifactError, InputError, OtherSettingsError
from hneurons.core.files import (
    check_row,
    data_hash,
    file_hash,
    open_no_link,
    parse_jsonl,
    read_checked,
    read_jsonl,
    storage_errors,
    write_atomic,
    write_checked,
)
from hneurons.core.locks import FolderLock
from hneurons.core.rows import dump_json, field_row, load_json, to_row
from hneurons.core.seeds import fingerprint

T = TypeVar("T")
SCHEMA_VERSION = 1
MANIFEST, RUN_JSON = "manifest.json", "run.json"
ROWS = "rows.jsonl"
PENDING, PENDING_DATA = "pending.json", "pending.safetensors"
__all__ = [
    "MANIFEST", "PENDING", "PENDING_DATA", "ROWS", "SCHEMA_VERSION", "FileStage", "Manifest", "RowStore",
    "check_files", "load_rows", "package_versions", "read_file", "read_result",
]  # fmt: skip


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


@dataclass
class Manifest:
    """What a result folder is: the settings and inputs that determine its content, and how far it has come.

    - `files`: the hash of every file the stage wrote, by name. For rows that are still being written it is the hash of
      the first `bytes` bytes.
    - `replaced`: the hash that a file of an unfinished stage had before it was last written.
    """

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
    files: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for item in fields(self):
            kind: Any = get_origin(item.type) or item.type
            if not isinstance(getattr(self, item.name), kind):
                raise TypeError(f"{item.name} is {getattr(self, item.name)!r}")
        for name in ("inputs", "files", "replaced"):
            if not all(isinstance(value, str) for value in getattr(self, name).values()):
                raise TypeError(f"{name} is {getattr(self, name)!r}")
        self.settings = to_row(self.settings)

    @property
    def fingerprint(self) -> str:
        """Identifies the content by its causes, whether finished or not."""
        return fingerprint([self.schema_version, self.stage, self.settings, self.inputs, self.expected])

    def save(self, folder: Path) -> None:
        write_checked(folder / MANIFEST, field_row(self))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder's manifest. Raises `InputError` where there is none, `ArtifactError` where it is damaged."""
        path = folder / MANIFEST
        if not path.is_file():
            raise InputError(
                f"{folder} is no hneurons result: it has no {MANIFEST}; run the stage that makes it, or give its folder"
            )
        try:
            row = dict(load_json(path.read_bytes()))
            version = row.get("schema_version", SCHEMA_VERSION)
            if version != SCHEMA_VERSION:
                raise ArtifactError(
                    f"{path} has schema version {version}, this version reads {SCHEMA_VERSION}: run the stage again"
                )
            return cls(**check_row(row))
        except (ValueError, TypeError) as error:
            raise ArtifactError(f"{path} is damaged ({error}): {MAKE_AGAIN}") from error

    def resume(self, folder: Path, earlier: Mapping[str, str] | None = None) -> Self:
        """The manifest to go on with: `self` in a folder where nothing is done, else the stored one.

        earlier: what earlier versions recorded for some of the inputs, which are then the same ones.
        Raises `OtherSettingsError` naming the fields that differ between the two, `InputError` for the folder of a run.
        """
        stored = type(self).load(folder) if (folder / MANIFEST).is_file() else None
        if stored is None and (folder / RUN_JSON).is_file():
            raise InputError(f"{folder} is the folder of a whole run: give --out a folder of its own")
        begun = stored is not None and (stored.done or stored.complete)
        known = {self.fingerprint, replace(self, inputs={**self.inputs, **(earlier or {})}).fingerprint}
        same = stored is not None and stored.fingerprint in known
        if stored is None or not (begun or (same and stored.files)):
            with storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            self.save(folder)
            return self
        if not same:
            raise OtherSettingsError(folder, _differences(stored, self))
        return stored


def _differences(stored: Manifest, wanted: Manifest) -> dict[str, str]:
    pairs: list[tuple[str, Any, Any]] = [("stage", stored.stage, wanted.stage)]
    for name in sorted({*stored.settings, *wanted.settings}):
        pairs.append((name, stored.settings.get(name), wanted.settings.get(name)))
    for name in sorted({*stored.inputs, *wanted.inputs}):
        pairs.append((f"input {name}", stored.inputs.get(name), wanted.inputs.get(name)))
    pairs.append(("size", stored.expected, wanted.expected))
    return {name: f"{name} was {_short(old)}, now {_short(new)}" for name, old, new in pairs if old != new}


def _short(value: Any) -> str:
    text = dump_json(value).decode()
    return text if len(text) <= 60 else f"{text[:40]}… ({fingerprint(value)})"


class _Stage:
    """A stage that is being made in `out`, which is locked meanwhile, or in memory where `out` is None."""

    def __init__(
        self,
        out: Path | None,
        manifest: Manifest,
        *,
        replace: bool = False,
        earlier_inputs: Mapping[str, str] | None = None,
    ) -> None:
        self.out, self.manifest, self._earlier = out, manifest, earlier_inputs
        self._lock: FolderLock | None = None
        if out is None:
            return
        with storage_errors(out):
            out.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(out)
        try:
            self._open(out, replace)
        except BaseException:
            self._release()
            raise
        if self.complete:
            self._release()

    def _open(self, out: Path, replace: bool) -> None:
        with storage_errors(out):
            for left in out.glob("*.tmp"):  # of a killed run: nobody else writes here now
                left.unlink()
        if replace and (out / MANIFEST).is_file():
            stored = Manifest.load(out)
            if stored.stage == self.manifest.stage and stored.fingerprint != self.manifest.fingerprint:
                (out / MANIFEST).unlink()
        self.manifest = self.manifest.resume(out, self._earlier)

    @property
    def complete(self) -> bool:
        return self.manifest.complete

    def _write(self, name: str, data: bytes) -> None:
        assert self.out is not None
        write_atomic(self.out / name, data)
        self.manifest.files[name] = data_hash(data)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


class FileStage(_Stage):
    """A stage that ends in a few whole files, in `out` or (None) nowhere.

    A finished result with the same settings and inputs is kept: `complete` says so. One with others is refused, or,
    where `replace` says that it is cheap to make, let go of. No other process may write the folder before `finish`.
    """

    def __init__(
        self,
        out: Path | None,
        *,
        stage: str,
        settings: dict[str, Any],
        inputs: dict[str, str] | None = None,
        expected: int = 1,
        replace: bool = False,
    ) -> None:
        manifest = Manifest(stage=stage, settings=settings, inputs=inputs or {}, expected=expected)
        super().__init__(out, manifest, replace=replace)

    def checkpoint(self, name: str, data: bytes, *, done: int) -> None:
        """Replace a file of the unfinished stage; a run killed in between finds the old or the new one."""
        if self.out is None:
            return
        path = self.out / name
        self.manifest.replaced = {name: file_hash(path)} if path.is_file() else {}
        self.manifest.files[name], self.manifest.done = data_hash(data), done
        self.manifest.save(self.out)
        write_atomic(path, data)

    def recover(self, name: str) -> bytes | None:
        """What `checkpoint` or `finish` last wrote; None where there is nothing. Raises `ArtifactError` for damage."""
        if self.out is None or not (self.out / name).is_file():
            return None
        return read_file(self.out, name, self.manifest)

    def finish(self, files: Mapping[str, bytes], summary: dict[str, Any] | None = None) -> None:
        """Write the files and mark the stage complete. Raises `StorageError`."""
        manifest = self.manifest
        manifest.done, manifest.complete, manifest.summary = manifest.expected, True, to_row(summary or {})
        manifest.replaced = {}
        if self.out is not None:
            for name, data in files.items():
                self._write(name, data)
            manifest.save(self.out)
            self._release()


def read_file(folder: Path, name: str, manifest: Manifest, *, verb: str = "the stage") -> bytes:
    """A file of a stage, its bytes being those that the stage wrote. Raises `ArtifactError` where they are not."""
    wanted = {manifest.files.get(name, manifest.content if manifest.complete else ""), manifest.replaced.get(name, "")}
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise ArtifactError(f"{folder / name} cannot be read ({error.strerror}): run {verb} again") from error
    if wanted != {""} and data_hash(data) not in wanted:
        raise ArtifactError(f"{folder / name} was changed after it was written: {MAKE_AGAIN}")
    return data


def read_result(folder: Path, name: str, parse: Callable[[bytes], T], *, stage: str, verb: str) -> T:
    """A file of a finished stage, parsed.

    Raises `InputError` for another stage's folder, `ArtifactError` for one that is unfinished, damaged or changed.
    """
    manifest = Manifest.load(folder)
    if manifest.stage != stage:
        raise InputError(f"{folder} holds {manifest.stage}, not {stage}: give the folder that '{verb}' writes")
    if not manifest.complete:
        raise ArtifactError(f"{folder} is unfinished: run '{verb}' again")
    data = read_file(folder, name, manifest, verb=f"'{verb}'")
    try:
        return parse(data)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ArtifactError(f"{folder / name} is damaged ({error}): run '{verb}' again") from error


class RowStore(_Stage):
    """Rows written chunk by chunk to `out/rows.jsonl`, or kept in memory where `out` is None.

    `done` chunks are already there after a resume, with their rows in `rows`. `expected` counts chunks; a stage that
    may stop early (quotas full) says so with `finish`. Until then no other process may open the folder to write.
    `pending` are rows of the next chunk that an earlier call had finished when it was stopped, `pending_data` is what
    belongs to them. `earlier_inputs` are what earlier versions recorded for some of the `inputs`. With `replace`, rows
    made with other settings or inputs are let go of; otherwise they are refused.
    """

    def __init__(
        self,
        out: Path | None,
        *,
        stage: str,
        settings: dict[str, Any],
        inputs: dict[str, str] | None = None,
        expected: int,
        earlier_inputs: Mapping[str, str] | None = None,
        replace: bool = False,
    ) -> None:
        self.rows: list[dict[str, Any]] = []
        self._digest = hashlib.blake2b(digest_size=8)
        manifest = Manifest(stage=stage, settings=settings, inputs=inputs or {}, expected=expected)
        super().__init__(out, manifest, replace=replace, earlier_inputs=earlier_inputs)
        self.pending, self.pending_data = ([], b"") if out is None or self.complete else self._read_pending(out)

    def _open(self, out: Path, replace: bool) -> None:
        """Cut off what a killed run left behind the last whole chunk, and read the rest."""
        super()._open(out, replace)
        path, manifest = out / ROWS, self.manifest
        size = path.stat().st_size if path.exists() else 0
        if size < manifest.bytes:
            raise ArtifactError(f"{path} has {size} bytes where its manifest counts {manifest.bytes}: {MAKE_AGAIN}")
        with storage_errors(path), open(path, "ab", opener=open_no_link) as file:
            file.truncate(manifest.bytes)
        check_files(out, manifest, rows=True)
        data = path.read_bytes()
        self._digest.update(data)
        self.rows = parse_jsonl(data, path)

    @property
    def done(self) -> int:
        return self.manifest.done

    def _read_pending(self, out: Path) -> tuple[list[dict[str, Any]], bytes]:
        """What `put_aside` wrote for this content; what is damaged or of other settings is made again."""
        try:
            found = read_checked(out / PENDING)
            if found["cause"] != self.manifest.fingerprint or found.get("done", self.done) != self.done:
                return [], b""
            recorded = found.get("files", {}).get(PENDING_DATA)
            data = b"" if recorded is None else (out / PENDING_DATA).read_bytes()
            whole = recorded is None or data_hash(data) == recorded
            return (list(found["rows"]), data) if whole else ([], b"")
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return [], b""

    def put_aside(self, rows: list[dict[str, Any]], data: bytes = b"") -> None:
        """Keep what is finished of a chunk that is being stopped: rows, and data of theirs. Raises `StorageError`."""
        if self.out is None or not rows:
            return
        self._drop_pending(self.out)
        if data:
            write_atomic(self.out / PENDING_DATA, data)
        row = {"cause": self.manifest.fingerprint, "done": self.done, "rows": rows}
        row |= {"files": {PENDING_DATA: data_hash(data)}} if data else {}
        write_checked(self.out / PENDING, row, sort_keys=False)  # rows are committed with their keys in this order

    def _drop_pending(self, out: Path) -> None:
        with storage_errors(out / PENDING):
            (out / PENDING).unlink(missing_ok=True)
            (out / PENDING_DATA).unlink(missing_ok=True)

    def commit(self, rows: list[dict[str, Any]], files: Mapping[str, bytes] | None = None) -> None:
        """Add one chunk durably: its rows, and files of its own. Raises `StorageError` when they cannot be written."""
        manifest = self.manifest
        assert manifest.done < manifest.expected, "a chunk that is there already is written again"
        rows = to_row(rows)
        self.rows.extend(rows)
        manifest.done += 1
        if self.out is None:
            return
        for name, content in (files or {}).items():
            self._write(name, content)
        data = b"".join(dump_json(row) + b"\n" for row in rows)
        with storage_errors(self.out / ROWS), open(self.out / ROWS, "ab", opener=open_no_link) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._digest.update(data)
        manifest.bytes += len(data)
        manifest.files[ROWS] = self._digest.hexdigest()
        manifest.save(self.out)
        self._drop_pending(self.out)

    def finish(self, summary: dict[str, Any]) -> None:
        """Mark the result complete. `summary` holds the stage's counts, shown by `show` and the report."""
        self.manifest.complete, self.manifest.summary = True, to_row(summary)
        if self.out is None:
            self.manifest.content = fingerprint(self.rows)
            return
        self.manifest.content = self.manifest.files[ROWS] = self._digest.hexdigest()
        self.manifest.save(self.out)
        self._drop_pending(self.out)
        self._release()


def load_rows(folder: Path, *, stage: str | None = None) -> tuple[Manifest, list[dict[str, Any]]]:
    """A finished result's manifest and rows.

    Raises `InputError` when it is of another stage, `ArtifactError` when it is incomplete or any of its files changed.
    """
    manifest = Manifest.load(folder)
    if stage is not None and manifest.stage != stage:
        raise InputError(f"{folder} holds {manifest.stage}, not {stage}: give the --out folder of '{stage}'")
    if not manifest.complete:
        raise ArtifactError(
            f"{folder} is unfinished ({manifest.done} of {manifest.expected} chunks): "
            f"run the command that made it again, it goes on where it stopped"
        )
    check_files(folder, manifest, rows=True)
    return manifest, read_jsonl(folder / ROWS)


def check_files(folder: Path, manifest: Manifest, *, rows: bool = False) -> None:
    """Raise `ArtifactError` where a file of the stage is missing or its bytes are not those that the stage wrote.

    rows: the stage has rows, of which those of an unfinished stage count up to the last whole chunk.
    """
    recorded = dict(manifest.files)
    if rows and manifest.complete:
        recorded.setdefault(ROWS, manifest.content)
    for name, content in recorded.items():
        path, size = folder / name, manifest.bytes if name == ROWS and not manifest.complete else None
        if not path.is_file():
            raise ArtifactError(f"{folder} lacks {name}: {MAKE_AGAIN}")
        if file_hash(path, size) not in (content, manifest.replaced.get(name)):
            raise ArtifactError(f"{path} was changed after it was written: {MAKE_AGAIN}")
