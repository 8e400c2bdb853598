"""One writer a folder."""

import gc
import multiprocessing
import time
from pathlib import Path

import pytest

from hneurons.core.errors import ArtifactError
from hneurons.core.locks import FolderLock


def _try(folder: Path, wait: float) -> str:
    try:
        FolderLock(folder, wait=wait)
    except ArtifactError as error:
        return str(error)
    return "held"


def try_elsewhere(folder: Path, wait: float = 0.0) -> str:
    """What another process is told that wants the folder."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return str(pool.apply(_try, (folder, wait)))


def test_another_process_is_refused_until_every_holder_has_let_go(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    assert "another process is writing" in try_elsewhere(tmp_path)
    first.release()
    first.release()
    assert "another process is writing" in try_elsewhere(tmp_path)
    second.release()
    assert try_elsewhere(tmp_path) == "held"


@pytest.mark.slow
def test_a_lock_that_nobody_refers_to_is_let_go(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    assert "another process" in try_elsewhere(tmp_path)
    del lock
    gc.collect()
    assert try_elsewhere(tmp_path) == "held"


def test_who_waits_gets_the_folder_when_it_is_free(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply_async(_try, (tmp_path, 60.0))
        time.sleep(0.5)
        assert not found.ready()
        lock.release()
        assert found.get() == "held"


def test_a_folder_that_is_not_there_cannot_be_held(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        FolderLock(tmp_path / "none")
