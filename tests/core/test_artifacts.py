"""Result folders: resumption at any byte, settings that changed, damage, a full disk."""

import errno
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hneurons.core import artifacts
from hneurons.core.artifacts import MANIFEST, ROWS, RUN_JSON, FileStage, Manifest, RowStore, load_rows, read_result
from hneurons.core.errors import ArtifactError, InputError, StorageError
from hneurons.core.files import read_jsonl, write_atomic
from hneurons.core.rows import load_json
from support.damage import flip_bits, survivors

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


def write_files(out: Path | None, **changes: Any) -> FileStage:
    stage = FileStage(out, **{"stage": "sums", "settings": {"n": 2, "odd": math.nan}, **changes})
    if not stage.complete:
        stage.finish({"sums.json": b"[1, 2]\n", "more.bin": bytes(range(256))}, {"largest": math.nan})
    return stage


def read_sums(folder: Path) -> Any:
    return read_result(folder, "sums.json", load_json, stage="sums", verb="add")


def test_a_finished_file_stage_is_kept_and_other_settings_are_refused_or_let_go_of(tmp_path: Path) -> None:
    write_files(tmp_path)
    before = read_folder(tmp_path)
    assert write_files(tmp_path).complete and read_folder(tmp_path) == before
    assert read_sums(tmp_path) == [1, 2]
    assert Manifest.load(tmp_path).files.keys() == {"sums.json", "more.bin"}
    with pytest.raises(ArtifactError, match="n was 2, now 3"):
        FileStage(tmp_path, stage="sums", settings={"n": 3})
    assert read_folder(tmp_path) == before
    fresh = FileStage(tmp_path, stage="sums", settings={"n": 3}, replace=True)
    assert not fresh.complete
    with pytest.raises(ArtifactError, match="is unfinished: run 'add' again"):
        read_sums(tmp_path)
    fresh.finish({"sums.json": b"[3]"})
    assert read_sums(tmp_path) == [3]
    with pytest.raises(ArtifactError, match="stage was"):
        FileStage(tmp_path, stage="products", settings={}, replace=True)


@pytest.mark.slow
def test_one_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    write_files(tmp_path / "files")
    write_store(tmp_path / "rows")
    names = ["manifest.json", "sums.json"]
    read: Any = lambda: (read_sums(tmp_path / "files"), Manifest.load(tmp_path / "files"))  # noqa: E731
    assert survivors(tmp_path / "files", read, names=names, count=1500) == []
    read = lambda: load_rows(tmp_path / "rows")  # noqa: E731
    assert survivors(tmp_path / "rows", read, names=["manifest.json", ROWS], count=1500) == []


def test_one_flipped_bit_in_the_rows_or_shards_of_an_unfinished_stage_is_refused(tmp_path: Path) -> None:
    store = RowStore(tmp_path, stage="things", settings={}, expected=3)
    store.commit([{"id": 1, "text": "abc"}], {"shard-0": b"0123456789"})
    store.commit([{"id": 2, "text": "def"}], {"shard-1": b"0123456789"})
    del store

    def read() -> Any:
        return RowStore(tmp_path, stage="things", settings={}, expected=3).rows

    for name in (ROWS, "shard-0", "shard-1"):
        for _ in flip_bits(tmp_path / name, 40):
            with pytest.raises(ArtifactError, match="was changed after it was written"):
                read()
    assert len(read()) == 2


def test_a_manifest_of_an_earlier_version_has_no_checksum_and_opens(tmp_path: Path) -> None:
    write_store(tmp_path / "a")
    path = tmp_path / "a" / MANIFEST
    row = json.loads(path.read_text())
    old = {name: value for name, value in row.items() if name not in ("checksum", "files", "replaced")}
    path.write_text(json.dumps(old))
    assert load_rows(tmp_path / "a")[1] == write_store(None).rows
    write_store(tmp_path / "a")
    rows = tmp_path / "a" / ROWS
    rows.write_bytes(rows.read_bytes().replace(b'"id": 4', b'"id": 5'))
    with pytest.raises(ArtifactError, match="changed"):
        load_rows(tmp_path / "a")


def test_a_checkpoint_killed_between_manifest_and_file_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"stage": "fit", "settings": {}, "expected": 9}
    stage = FileStage(tmp_path, **options)
    assert stage.recover("state") is None
    stage.checkpoint("state", b"one", done=0)
    assert FileStage(tmp_path, **options).recover("state") == b"one"
    original = artifacts.write_atomic

    def crash(path: Path, data: bytes) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "write_atomic", crash)
        with pytest.raises(KeyboardInterrupt):
            stage.checkpoint("state", b"two", done=1)
    assert original is artifacts.write_atomic
    assert FileStage(tmp_path, **options).recover("state") == b"one"
    stage.checkpoint("state", b"two", done=1)
    assert FileStage(tmp_path, **options).recover("state") == b"two"
    for _ in flip_bits(tmp_path / "state", 24):
        with pytest.raises(ArtifactError, match="was changed"):
            FileStage(tmp_path, **options).recover("state")


def test_a_link_where_a_file_is_written_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ROWS).symlink_to(precious)
    with pytest.raises(StorageError):
        write_store(tmp_path / "out")
    (tmp_path / "out" / ROWS).unlink()
    (tmp_path / "out" / "a.tmp").symlink_to(precious)
    write_store(tmp_path / "out")
    monkeypatch.setattr("hneurons.core.files.secrets.token_hex", lambda size: "0")
    (tmp_path / "b.0.tmp").symlink_to(precious)
    with pytest.raises(StorageError):
        write_atomic(tmp_path / "b", "theirs")
    assert precious.read_text() == "mine"


def test_two_writers_of_one_file_have_temporary_files_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: write_atomic(tmp_path / "a", str(n) * 10_000), range(80)))
    assert len(set((tmp_path / "a").read_text())) <= 2 and len(list(tmp_path.iterdir())) == 1


def test_manifests_and_rows_are_json_without_nan(tmp_path: Path) -> None:
    write_files(tmp_path / "a")
    store = RowStore(tmp_path / "b", stage="things", settings={"x": math.inf}, expected=1)
    store.commit([{"value": math.nan, "text": "a\ud800"}])
    store.finish({"mean": math.nan})
    for path in tmp_path.rglob("*.json*"):
        for line in path.read_bytes().splitlines() if path.suffix == ".jsonl" else [path.read_bytes()]:
            json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert load_rows(tmp_path / "b")[1] == store.rows == [{"value": None, "text": "a\ud800"}]
    assert write_files(tmp_path / "a").complete, "NaN in settings compares equal to what was stored"


def test_a_stage_is_not_written_between_the_stages_of_a_run(tmp_path: Path) -> None:
    (tmp_path / RUN_JSON).write_text("{}")
    with pytest.raises(InputError, match="is the folder of a whole run"):
        Manifest(stage="s", settings={}, inputs={}, expected=1).resume(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [RUN_JSON]
