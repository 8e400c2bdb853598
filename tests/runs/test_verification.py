"""What has the right checksum and still says nothing that its reader could use is damage too."""

from pathlib import Path
from typing import Any

import pytest

from hneurons.core.artifacts import FileStage
from hneurons.core.files import read_checked, write_checked
from hneurons.core.verification import verify_folder
from hneurons.runs.plan import RunPlan
from hneurons.runs.verification import verify_stored


@pytest.mark.parametrize("change", [{"n": "ten"}, {"tests": 3}, {"questions": None}, {"seed": [1]}, {"unknown": 1}])
def test_a_plan_of_wrong_types_with_the_right_checksum_is_damaged(tmp_path: Path, change: dict[str, Any]) -> None:
    RunPlan(model="m", questions="facts").save(tmp_path)
    assert [check.state for check in verify_stored(tmp_path)] == ["whole"]
    write_checked(tmp_path / "run.json", read_checked(tmp_path / "run.json") | change)
    assert [check.state for check in verify_folder(tmp_path)] == ["whole"]
    (found,) = verify_stored(tmp_path)
    assert found.state == "damaged" and next(iter(change)) in found.reason


@pytest.mark.parametrize("row", [{"benchmarks": 3, "about": {}}, {"benchmarks": {"x": {"against": 1}}}, {}])
def test_results_of_wrong_types_with_the_right_checksum_are_damaged(tmp_path: Path, row: dict[str, Any]) -> None:
    write_checked(tmp_path / "results.json", row)
    (found,) = verify_stored(tmp_path)
    assert found.state == "damaged"


@pytest.mark.parametrize("change", [{"done": "all"}, {"settings": []}, {"summary": 7}, {"inputs": None}])
def test_a_manifest_of_wrong_types_with_the_right_checksum_is_damaged(tmp_path: Path, change: dict[str, Any]) -> None:
    FileStage(tmp_path, stage="fit", settings={"n": 1}).finish({})
    assert [check.state for check in verify_stored(tmp_path)] == ["whole"]
    path = tmp_path / "manifest.json"
    write_checked(path, read_checked(path) | change)
    (found,) = verify_stored(tmp_path)
    assert found.state == "damaged"
