"""Where an export goes: written beside its place under another name, and moved there when it is whole."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hneurons.core.files import file_hash, storage_errors, write_checked

EXPORT_JSON = "hneurons_export.json"
"""The file in an exported folder that says what was scaled."""


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A free path beside `out` to write a file or folder to; it becomes `out` unless an exception is raised.

    Raises `StorageError` where writing fails; nothing is left behind.
    """
    temporary = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    try:
        with storage_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, out)
    except BaseException:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        elif temporary.exists():
            temporary.unlink()
        raise


def copy_file(source: Path, target: Path) -> None:
    """Copy the bytes of a file, through the kernel where it can: no memory is used. The copy can be written to."""
    shutil.copyfile(source, target)
    os.chmod(target, 0o644)


def write_note(path: Path, about: Mapping[str, Any], files: Sequence[Path]) -> None:
    """Write what an export is as JSON, with the hash of each of its other files, which lie beside it."""
    write_checked(path, {**about, "files": {file.name: file_hash(file) for file in sorted(files) if file != path}})
