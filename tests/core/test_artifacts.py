"""Result folders: resumption at any byte, settings that changed, damage, a full disk."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hneurons.core.artifacts import MANIFEST, ROWS, Manifest, RowStore, load_rows, read_jsonl, write_atomic
from hneurons.core.errors import ArtifactError, InputError, StorageError

CHUNKS = [[{"id": i, "text": f"ä{i}" * i}] * (i % 3) for i in range(6)]


def write_store(out: Path | None, *, until: int = len(CHUNKS), **changes: Any) -> RowStore:
    options: dict[str, Any] = {"stage": "things", "settings": {"n": 2, "rounds": (1, 2)}, "inputs": {"a": "1"}}
    store = RowStore(out, **{**options, "expected": len(CHUNKS), **changes})
    for chunk in CHUNKS[store.done : until]:
        store.commit(chunk)
    if until == len(CHUNKS) and not store.complete:
        store.finish({"rows": len(store.rows)})
    return store


def read_folder(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.suffix != ".tmp"}


@pytest.mark.parametrize("done", range(len(CHUNKS) + 1))
def test_a_run_that_stops_after_any_chunk_ends_with_the_same_bytes(tmp_path: Path, done: int) -> None:
    write_store(tmp_path / "whole")
    write_store(tmp_path / "cut", until=done)
    write_store(tmp_path / "cut")
    assert read_folder(tmp_path / "cut") == read_folder(tmp_path / "whole")


@pytest.mark.parametrize("tail", [b"{", b'{"id": 9}\n', b'{"id": 9}\n{"id', b"\xff\xfe\n", b"\n" * 4096])
def test_what_a_killed_run_left_behind_its_last_chunk_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    write_store(tmp_path / "whole")
    write_store(tmp_path / "cut", until=4)
    with open(tmp_path / "cut" / ROWS, "ab") as file:
        file.write(tail)
    (tmp_path / "cut" / (MANIFEST + ".tmp")).write_bytes(b'{"half')
    write_store(tmp_path / "cut")
    assert read_folder(tmp_path / "cut") == read_folder(tmp_path / "whole")


def test_rows_in_memory_are_those_on_disk(tmp_path: Path) -> None:
    on_disk, in_memory = write_store(tmp_path / "a"), write_store(None)
    assert on_disk.rows == in_memory.rows == load_rows(tmp_path / "a", stage="things")[1]
    assert on_disk.manifest.summary == in_memory.manifest.summary


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"settings": {"n": 3, "rounds": (1, 2)}}, "n was 2, now 3"),
        ({"settings": {"n": 2, "rounds": (1, 2, 3)}}, r"rounds was \[1, 2\], now \[1, 2, 3\]"),
        ({"settings": {"n": 2, "rounds": (1, 2), "new": 1}}, "new was null, now 1"),
        ({"inputs": {"a": "2"}}, 'input a was "1", now "2"'),
        ({"stage": "others"}, 'stage was "things", now "others"'),
        ({"expected": 7}, "size was 6, now 7"),
    ],
)
@pytest.mark.parametrize("until", [3, len(CHUNKS)])
def test_other_settings_are_refused_by_the_name_of_the_field(
    tmp_path: Path, changes: dict[str, Any], named: str, until: int
) -> None:
    write_store(tmp_path / "a", until=until)
    before = read_folder(tmp_path / "a")
    with pytest.raises(ArtifactError, match=named):
        write_store(tmp_path / "a", **changes)
    assert read_folder(tmp_path / "a") == before


def test_where_nothing_is_done_yet_other_settings_may_begin(tmp_path: Path) -> None:
    write_store(tmp_path / "a", until=0)
    write_store(tmp_path / "a", settings={"n": 9})
    write_store(tmp_path / "b", settings={"n": 9})
    assert read_folder(tmp_path / "a") == read_folder(tmp_path / "b")


def test_a_folder_without_manifest_an_unfinished_one_and_another_stage_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=MANIFEST):
        load_rows(tmp_path)
    write_store(tmp_path / "a", until=2)
    with pytest.raises(ArtifactError, match="unfinished \\(2 of 6 chunks\\)"):
        load_rows(tmp_path / "a")
    write_store(tmp_path / "a")
    with pytest.raises(InputError, match="holds things, not spans"):
        load_rows(tmp_path / "a", stage="spans")


def test_rows_changed_by_hand_are_noticed_when_loaded_and_when_resumed(tmp_path: Path) -> None:
    write_store(tmp_path / "a")
    path = tmp_path / "a" / ROWS
    path.write_bytes(path.read_bytes().replace(b'"id": 4', b'"id": 5'))
    with pytest.raises(ArtifactError, match="changed"):
        load_rows(tmp_path / "a")
    with pytest.raises(ArtifactError, match="changed"):
        write_store(tmp_path / "a")


@pytest.mark.parametrize("cut", [0, 5])
def test_rows_that_got_shorter_are_noticed(tmp_path: Path, cut: int) -> None:
    write_store(tmp_path / "a", until=4)
    path = tmp_path / "a" / ROWS
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ArtifactError, match="manifest counts"):
        write_store(tmp_path / "a")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xff", b"{}", b'{"stage": "things"}', b'{"stage": "a", "settings": {}, "x": 1}'],
)
def test_a_damaged_manifest_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    write_store(tmp_path / "a")
    (tmp_path / "a" / MANIFEST).write_bytes(content)
    for read in (load_rows, lambda folder: write_store(folder)):
        with pytest.raises(ArtifactError, match="damaged"):
            read(tmp_path / "a")


@pytest.mark.parametrize(("name", "value"), [("bytes", "many"), ("done", None), ("settings", [1]), ("inputs", 3)])
def test_a_manifest_with_a_field_of_another_type_is_damaged(tmp_path: Path, name: str, value: Any) -> None:
    write_store(tmp_path / "a", until=2)
    path = tmp_path / "a" / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(ArtifactError, match="damaged"):
        write_store(tmp_path / "a")


def test_a_manifest_of_a_later_version_says_so(tmp_path: Path) -> None:
    write_store(tmp_path / "a")
    path = tmp_path / "a" / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99, "more": 1}))
    with pytest.raises(ArtifactError, match="schema version 99"):
        load_rows(tmp_path / "a")


@pytest.mark.parametrize("bad", [b"{\n", b"\xff\n"])
def test_a_line_that_is_no_json_is_named(tmp_path: Path, bad: bytes) -> None:
    (tmp_path / ROWS).write_bytes(b'{"a": 1}\n' + bad)
    with pytest.raises(ArtifactError, match="line 2"):
        read_jsonl(tmp_path / ROWS)


def test_a_full_disk_keeps_finished_chunks_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_store(tmp_path / "whole")
    write_store(tmp_path / "cut", until=3)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"disk is full.*run the same command again"):
            write_store(tmp_path / "cut")
    write_store(tmp_path / "cut")
    assert read_folder(tmp_path / "cut") == read_folder(tmp_path / "whole")


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose another folder"):
        write_store(tmp_path / "file" / "below")


def test_a_replaced_file_is_whole_or_old_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic(tmp_path / "a", "old")

    def crash(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            write_atomic(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    write_atomic(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"


def test_a_manifest_survives_saving(tmp_path: Path) -> None:
    write_store(tmp_path / "a")
    manifest = Manifest.load(tmp_path / "a")
    manifest.save(tmp_path / "a")
    assert Manifest.load(tmp_path / "a") == manifest


@contextmanager
def another_process(folder: Path, *, finish: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A process that has written one of two chunks into the folder, or all, and is still there."""
    code = (
        "import sys, time; from pathlib import Path; from hneurons.core.artifacts import RowStore\n"
        f"store = RowStore(Path({str(folder)!r}), stage='things', settings={{}}, expected=2)\n"
        "store.commit([{'id': 1}])\n"
        + ("store.commit([{'id': 2}]); store.finish({})\n" if finish else "")
        + "print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def open_store(folder: Path) -> RowStore:
    return RowStore(folder, stage="things", settings={}, expected=2)


def test_a_folder_that_another_process_writes_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        before = read_folder(tmp_path)
        with pytest.raises(ArtifactError, match="another process is writing"):
            open_store(tmp_path)
        assert read_folder(tmp_path) == before
        process.kill()
        process.wait()
        store = open_store(tmp_path)
        assert store.rows == [{"id": 1}]
        store.commit([{"id": 2}])
        store.finish({})


def test_a_finished_folder_may_be_opened_while_the_process_that_wrote_it_lives(tmp_path: Path) -> None:
    with another_process(tmp_path, finish=True):
        assert open_store(tmp_path).complete


def test_one_process_may_open_a_folder_again_after_an_interruption_or_made_anew(tmp_path: Path) -> None:
    first = open_store(tmp_path / "x")
    first.commit([{"id": 1}])
    assert open_store(tmp_path / "x").done == 1
    (tmp_path / "x").rename(tmp_path / "y")
    assert open_store(tmp_path / "x").done == 0
    with pytest.raises(ArtifactError, match="other settings"):
        RowStore(tmp_path / "y", stage="others", settings={}, expected=2)
