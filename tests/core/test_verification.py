"""`hneurons verify`: what is damaged below a folder is found and named, and nothing whole is."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hneurons.cli.app import app
from hneurons.core.artifacts import FileStage, RowStore
from hneurons.core.errors import InputError
from hneurons.core.files import write_checked
from hneurons.core.verification import FileCheck, verify_folder
from hneurons.runs.plan import RunPlan
from support.damage import flip_bits


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished stage of files, one of rows with a shard, an unfinished one, and files on their own."""
    FileStage(tmp_path / "fit", stage="fit", settings={"n": 1}).finish({"state.safetensors": b"0123", "x.json": b"{}"})
    for name, whole in (("rows", True), ("going/on", False)):
        store = RowStore(tmp_path / name, stage="rows", settings={}, expected=2)
        store.commit([{"id": 1}], {"shard-0.safetensors": b"4567"})
        if whole:
            store.commit([{"id": 2}])
            store.finish({})
    RunPlan(model="m", questions="facts").save(tmp_path)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "notes.json").write_text('{"a": 1}')
    (tmp_path / "report.html").write_text("<p>")
    return tmp_path


def states(folder: Path) -> dict[str, str]:
    return {check.path: check.state for check in verify_folder(folder)}


def test_what_is_whole_unfinished_and_without_hash_is_said_to_be_so(folder: Path) -> None:
    assert states(folder) == {
        "fit/manifest.json": "whole",
        "fit/state.safetensors": "whole",
        "fit/x.json": "whole",
        "going/on/manifest.json": "unfinished",
        "going/on/rows.jsonl": "whole",
        "going/on/shard-0.safetensors": "whole",
        "old/notes.json": "unchecked",
        "rows/manifest.json": "whole",
        "rows/rows.jsonl": "whole",
        "rows/shard-0.safetensors": "whole",
        "run.json": "whole",
    }
    with open(folder / "going/on/rows.jsonl", "ab") as file:
        file.write(b'{"half')  # left by a kill, behind the last whole chunk
    assert states(folder)["going/on/rows.jsonl"] == "whole"


@pytest.mark.slow
def test_every_flipped_bit_is_found_and_the_file_is_named(folder: Path) -> None:
    for name, state in states(folder).items():
        if state == "unchecked":
            continue
        before = json.loads((folder / name).read_bytes()) if name.endswith(".json") else None
        for _ in flip_bits(folder / name, 60):
            try:
                same = before is not None and json.loads((folder / name).read_bytes()) == before
            except ValueError:
                same = False
            found = states(folder)[name]
            # A checksum by another name is none: the content is as it was, and no longer vouched for.
            unnamed = name == "run.json" and found == "unchecked"
            assert found == "damaged" or unnamed or (same and not name.endswith("x.json"))


def test_what_is_missing_or_cut_is_damage(folder: Path) -> None:
    (folder / "fit" / "state.safetensors").unlink()
    (folder / "rows" / "rows.jsonl").write_bytes(b"")
    (folder / "old" / "notes.json").write_text("{")
    found = {check.path: check.reason for check in verify_folder(folder) if check.state == "damaged"}
    assert set(found) == {"fit/state.safetensors", "rows/rows.jsonl", "old/notes.json"}
    assert found["fit/state.safetensors"] == "is missing; manifest.json says that it was written"


def test_a_name_that_leads_out_of_the_folder_is_not_followed(folder: Path) -> None:
    write_checked(folder / "a.json", {"files": {"../secret": "0" * 16, "..": "0" * 16}})
    assert all(not check.path.startswith("..") for check in verify_folder(folder))


def test_a_folder_with_nothing_to_check_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError):
            verify_folder(place)


def test_the_command_ends_with_1_where_something_is_damaged_and_says_what(folder: Path) -> None:
    run = CliRunner().invoke
    done = run(app, ["verify", str(folder)])
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "unfinished: going/on/manifest.json (1 of 2 parts are done)",
        "11 files: 9 whole, 1 unchecked, 1 unfinished, 0 damaged",
        "No hash of the unchecked files was recorded, so a change in them would not be seen; --json names them.",
    ]
    (folder / "rows" / "shard-0.safetensors").write_bytes(b"4568")
    done = run(app, ["verify", str(folder)])
    assert done.exit_code == 1 and "damaged: rows/shard-0.safetensors (was changed after it was" in done.stdout
    done = run(app, ["verify", str(folder), "--json"])
    row = json.loads(done.stdout)
    assert done.exit_code == 1 and row["counts"]["damaged"] == 1
    assert FileCheck("fit/x.json", "whole") in [FileCheck.from_row(check) for check in row["files"]]
