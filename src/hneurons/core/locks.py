"""One writer a folder: a lock that a killed process cannot leave behind."""

import os
import threading
import time
import weakref
from pathlib import Path

from hneurons.core.errors import ArtifactError

_PAUSE = 0.05  # seconds between two tries
_guard = threading.RLock()  # a finalizer may run in the middle of `_take`
_held: dict[tuple[int, int], list[int]] = {}
"""(device, inode) of a folder that this process writes -> its open descriptor, and how many hold it."""


class FolderLock:
    """Keeps other processes from writing `folder` until `release`, or until this object is gone.

    The same process may hold a folder several times. Systems that know no such locks are trusted. With `wait`, tries
    for so many seconds. Raises `ArtifactError` where another process holds the folder, `OSError` where there is none.
    """

    def __init__(self, folder: Path, *, wait: float = 0.0) -> None:
        end = time.monotonic() + wait
        key = _take(folder)
        while key is None:
            if time.monotonic() >= end:
                raise ArtifactError(
                    f"another process is writing {folder}: wait until it has ended, or choose another --out"
                )
            time.sleep(_PAUSE)
            key = _take(folder)
        self.release = weakref.finalize(self, _drop, key)


def _take(folder: Path) -> tuple[int, int] | None:
    """Hold the folder; None where another process does."""
    descriptor = os.open(folder, os.O_RDONLY) if os.name == "posix" else -1
    found = os.fstat(descriptor) if descriptor >= 0 else os.stat(folder)
    key = (found.st_dev, found.st_ino)
    with _guard:
        if key in _held:
            _held[key][1] += 1
            if descriptor >= 0:
                os.close(descriptor)
            return key
        if descriptor >= 0 and not _lock(descriptor):
            os.close(descriptor)
            return None
        _held[key] = [descriptor, 1]
    return key


def _lock(descriptor: int) -> bool:
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _drop(key: tuple[int, int]) -> None:
    with _guard:
        held = _held[key]
        held[1] -= 1
        if not held[1]:
            del _held[key]
            if held[0] >= 0:
                os.close(held[0])
