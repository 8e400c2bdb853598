"""Files that are whole or old, never half, and known by their content."""

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hneurons.core.errors import MAKE_AGAIN, ArtifactError, StorageError
from hneurons.core.rows import dump_json, load_json, to_row
from hneurons.core.seeds import fingerprint

CHECKSUM = "checksum"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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
    """Replace `path` by `data` in one step, so that a reader or a killed run never sees half a file.

    The temporary file beside it has a name of its own and is made afresh: no other writer's file, and no link that
    somebody put there, is written to.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with storage_errors(path):
            with open(temporary, "xb") as file:
                file.write(data.encode(errors="replace") if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def file_hash(path: Path, size: int | None = None) -> str:
    """16 hex digits of the file's content (BLAKE2b), or of its first `size` bytes."""
    digest, left = hashlib.blake2b(digest_size=8), path.stat().st_size if size is None else size
    with open(path, "rb") as file:
        while block := file.read(min(left, 1 << 20)):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


@contextmanager
def stored_errors(folder: Path) -> Iterator[None]:
    """Turn what reading stored values raises into an `ArtifactError` that names their folder."""
    from safetensors import SafetensorError

    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, SafetensorError) as error:
        reason = f"no {error}" if isinstance(error, LookupError) else str(error)
        raise ArtifactError(f"{folder} is damaged or of another version ({reason}): {MAKE_AGAIN}") from error


def data_hash(data: bytes) -> str:
    """The `file_hash` of a file with this content."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def write_checked(path: Path, row: Mapping[str, Any], *, sort_keys: bool = True) -> None:
    """Write a JSON object with a checksum of its values. Raises `StorageError`."""
    write_atomic(path, checked_json(row, sort_keys=sort_keys))


def checked_json(row: Mapping[str, Any], *, sort_keys: bool = True) -> bytes:
    """A JSON object with a checksum of its values."""
    plain = to_row(dict(row))
    return dump_json({**plain, CHECKSUM: fingerprint(plain)}, indent=1, sort_keys=sort_keys) + b"\n"


def read_checked(path: Path) -> dict[str, Any]:
    """The JSON object that `write_checked` wrote; one of an earlier version, without checksum, is read as it is.

    Raises `ValueError` where it is no JSON object, or was changed after it was written.
    """
    return check_row(load_json(path.read_bytes()))


def check_row(row: Any) -> dict[str, Any]:
    """A JSON object without its checksum, if it has one. Raises `ValueError` as `read_checked` does."""
    if type(row) is not dict:
        raise ValueError("it is no JSON object")
    checksum = row.pop(CHECKSUM, None)
    if checksum is not None and checksum != fingerprint(row):
        raise ValueError("it was changed after it was written")
    return row


def open_no_link(path: str, flags: int) -> int:
    """An opener for `open` that refuses a symbolic link where a file should be."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All rows of a JSONL file. Raises `ArtifactError` naming the line that is no JSON object."""
    return parse_jsonl(path.read_bytes(), path)


def parse_jsonl(data: bytes, path: Path) -> list[dict[str, Any]]:
    """All rows of JSONL text. Raises `ArtifactError` naming the line that is no JSON, and `path`."""
    rows = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            rows.append(load_json(line))
            if type(rows[-1]) is not dict:
                raise ValueError("no object")
        except ValueError as error:
            raise ArtifactError(f"{path}, line {number}, is not JSON ({error})") from error
    return rows
