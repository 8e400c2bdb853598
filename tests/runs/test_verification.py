"""What has the right checksum and still says nothing that its reader could use is damage too."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hneurons.core.artifacts import FileStage, RowStore
from hneurons.core.files import read_checked, write_checked
from hneurons.core.types import ModelIdentity
from hneurons.core.verification import verify_folder
from hneurons.detection.detector import Detector
from hneurons.interventions.export import export_neurons
from hneurons.records.record import RunSettings
from hneurons.releases.release import save_release
from hneurons.runs.plan import RunPlan
from hneurons.runs.verification import verify_stored
from support.tiny_exports import choose_neurons, load, save_model


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


DETECTOR = Detector(
    ModelIdentity("owner/model", "llama", 3, 48, 32, "c0", "t0", "w0"), columns=np.array([3, 40, 100]),
    coef=np.array([2.0, -1.0, 0.5]), scale=np.ones(3), selection_probability=np.array([0.95, 0.4, 0.1]),
    intercept=0.0, threshold=0.1, settings={}, data={},
)  # fmt: skip
NO_JSON_OF_OURS = (None, b"{}", b"[[1], [2]]", b'{"a": 1}\n')


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """A run with its detector, a sweep, a release, a set, an export and a stage that was stopped in a chunk."""
    run, model = tmp_path / "run", save_model(tmp_path / "model")
    RunPlan(model="m", questions="facts").save(run)
    for place in ("train/responses", "test/facts/examples"):
        store = RowStore(run / place, stage="rows", settings={}, expected=1)
        store.commit([{"id": 1}], {"shard-00000.safetensors": b"4567"})
        store.finish({})
    FileStage(run / "detector", stage="fit", settings={}).finish(DETECTOR.to_files())
    FileStage(run / "detector/stability", stage="path", settings={}).finish({"state.safetensors": b"01"})
    FileStage(run / "evaluation", stage="evaluate", settings={}).finish({"evaluation.json": b"{}"})
    DETECTOR.neuron_set().save(run / "bench/all/neurons/h_neurons")
    RowStore(run / "bench/all/facts", stage="run", settings=RunSettings("facts").to_row(), expected=0).finish({})
    write_checked(run / "bench/all/results.json", {"about": {}, "benchmarks": {}})
    save_release(tmp_path / "release", DETECTOR, {})
    DETECTOR.neuron_set().save(tmp_path / "set")
    export_neurons(choose_neurons(load(model)), 0, model=str(model), out=tmp_path / "lora", format="lora")
    rows = RowStore(tmp_path / "stopped", stage="rows", settings={}, expected=2)
    rows.commit([{"id": 1}])
    rows.put_aside([{"id": 2}])
    shutil.rmtree(model)
    return tmp_path


@pytest.mark.slow
def test_every_file_that_is_gone_or_is_no_longer_itself_is_named(everything: Path) -> None:
    paths = [path for path in everything.rglob("*") if path.is_file() and path.name not in ("README.md", "lock")]
    said_before = {check.path: check.state for check in verify_stored(everything)}
    assert set(said_before.values()) == {"whole", "unfinished"}
    for path in paths:
        top = everything / path.relative_to(everything).parts[0]
        name, before = str(path.relative_to(top)), path.read_bytes()
        for data in NO_JSON_OF_OURS:
            if data is None:
                path.unlink()
            else:
                path.write_bytes(data)
            found = {check.path: check.state for check in verify_stored(top)}
            path.write_bytes(before)
            if data is None and path.name == "pending.json":
                continue  # nothing says that a stage was stopped inside a chunk
            if data is None and path.name == "hneurons_export.json":
                assert found["adapter_model.safetensors"] == "unchecked"  # as an adapter of anybody
            elif data is None and path.name == "results.json":
                assert found[name] == "unfinished"  # as after a kill just before it was written
            elif data != before:
                assert found[name] == "damaged", data


def test_a_stage_looked_at_alone_needs_nothing_from_outside_its_folder(everything: Path) -> None:
    for place in ("run/train", "run/train/responses", "run/detector/stability", "run/bench/all/facts", "set"):
        assert {check.state for check in verify_stored(everything / place)} == {"whole"}


@pytest.mark.parametrize("data", [b"3", b"[]", b'{"drawing": 3}'])
def test_times_that_are_none_are_damaged(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "timing.json").write_bytes(data)
    assert [check.state for check in verify_stored(tmp_path)] == ["damaged"]
