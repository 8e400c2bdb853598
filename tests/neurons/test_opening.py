"""Opening neurons: the same folders and hub ids, and the same refusals, in everything that takes neurons."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hneurons.cli.app import app
from hneurons.core.errors import ArtifactError, EndpointError, HNeuronsError, InputError
from hneurons.core.types import ModelIdentity
from hneurons.detection.detector import Detector, open_detector
from hneurons.evaluators.steering import read_steering
from hneurons.interventions.scaling import NeuronScaling
from hneurons.neurons.opening import find_neurons, open_neurons
from hneurons.releases.release import push_release, save_release
from hneurons.runs.plan import RunPlan
from support.hub_server import run_hub

COLUMNS = [3, 100]


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of each kind, good and bad, which is the working directory, too."""
    detector = Detector(
        ModelIdentity("owner/model", "llama", 3, 48, 32, "c0", "t0", "w0"),
        columns=np.array([3, 40, 100]), coef=np.array([2.0, -1.0, 0.5]), scale=np.ones(3),
        selection_probability=np.array([0.9, 0.4, 0.1]), intercept=0.0, threshold=0.1, settings={}, data={},
    )  # fmt: skip
    plan = RunPlan(model="m", questions="facts")
    for name in ("run", "unfitted", "damaged_run"):
        plan.save(tmp_path / name)
    for name in ("run/detector", "detector", "damaged_run/detector", "truncated"):
        detector.save(tmp_path / name)
    detector.neuron_set().save(tmp_path / "set")
    save_release(tmp_path / "release", detector, {})
    shutil.copytree(tmp_path / "release", tmp_path / "changed")
    (tmp_path / "changed" / "neurons.json").write_text("{}")
    (tmp_path / "damaged_run" / "detector" / "neurons.json").write_text("{")
    (tmp_path / "truncated" / "neurons.safetensors").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "letters").write_text("a\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


@pytest.mark.parametrize("name", ["run", "run/detector", "detector", "set", "release"])
def test_every_kind_of_folder_gives_the_same_neurons(sources: Path, name: str) -> None:
    for source in (name, sources / name):
        assert open_neurons(source).columns.tolist() == COLUMNS
    assert find_neurons(name).run == (Path("run") if name == "run" else None)
    steered = read_steering(name, "0.5")
    assert steered is not None
    assert isinstance(steered.intervention, NeuronScaling)
    assert steered.intervention.neurons.columns.tolist() == COLUMNS
    if name == "set":
        with pytest.raises(InputError, match="set holds neurons but no detector"):
            open_detector(name)
    else:
        assert open_detector(name).columns.tolist() == [3, 40, 100]


@pytest.mark.slow
def test_a_hub_id_gives_the_neurons_of_its_release(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with run_hub(monkeypatch, sources / "cache"):
        push_release(sources / "release", "owner/h-neurons")
        assert open_neurons("owner/h-neurons").columns.tolist() == COLUMNS
        assert open_detector("owner/h-neurons").columns.tolist() == [3, 40, 100]
        both = CliRunner().invoke(app, ["drift", "owner/h-neurons", "set", "--json"])
        assert json.loads(both.stdout)["jaccard"] == 1
        with pytest.raises(EndpointError, match="there is no folder owner/nothing, and the hub does not give it: "):
            open_neurons("owner/nothing")


BAD: dict[str, tuple[type[HNeuronsError], str]] = {
    "nowhere": (InputError, "there is no folder nowhere: give the folder of a run, a detector, a neuron set or a "
                            "release, or a hub id (owner/name)"),
    "no/such/place": (InputError, "there is no folder no/such/place: give the folder"),
    "file": (InputError, "file is a file: give the folder"),
    "empty": (InputError, "empty holds no neuron set (no neurons.json): give the folder"),
    "unfitted": (InputError, "the run in unfitted has no detector yet: run 'fit' first"),
    "changed": (ArtifactError, "the release in changed is damaged (neurons.json is missing or is not what was "
                               "published): fetch or publish it again"),
    "truncated": (ArtifactError, "truncated is damaged"),
    "damaged_run": (ArtifactError, "damaged_run/detector is damaged"),
    "owner/name": (EndpointError, "there is no folder owner/name, and the hub does not give it: "),
}  # fmt: skip

VERBS: dict[str, Callable[[str], list[str]]] = {
    "bench": lambda source: ["bench", "copying", "--neurons", source, "--model", "m", "--out", "out"],
    "export": lambda source: ["export", source, "--model", "m", "--out", "out", "--alpha", "0", "--format", "lora"],
    "drift, first": lambda source: ["drift", source, "set"],
    "drift, second": lambda source: ["drift", "set", source],
    "overlap": lambda source: [
        "overlap", "m", source, "--harmful", "letters", "--harmless", "letters", "--out", "out",
    ],
}  # fmt: skip


@pytest.mark.parametrize("source", BAD)
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_a_bad_source_in_the_same_sentence(sources: Path, verb: str, source: str) -> None:
    kind, sentence = BAD[source]
    done = CliRunner().invoke(app, VERBS[verb](source))
    assert isinstance(done.exception, kind) and sentence in str(done.exception)
    assert "\n" not in str(done.exception)
    with pytest.raises(kind) as steered:
        read_steering(source, 2)
    assert str(steered.value) == str(done.exception)
    assert not (sources / "out").exists()


def test_evaluate_takes_the_same_sources_and_needs_a_detector(sources: Path) -> None:
    for source, (kind, sentence) in {
        **BAD,
        "truncated": (
            InputError,
            "spans is no hneurons result",
        ),  # its detector is whole, the run has no answers
        "damaged_run": (InputError, "spans is no hneurons result"),
        "set": (InputError, "set holds neurons but no detector (no detector.json): give a run"),
    }.items():
        done = CliRunner().invoke(app, ["evaluate", "run", "--detector", source])
        assert isinstance(done.exception, kind) and sentence in str(done.exception), source


def test_a_run_of_another_folder_layout_is_found_by_its_files_alone(sources: Path) -> None:
    assert asdict(open_neurons("run").identity)["name"] == "owner/model"
    shutil.move(sources / "run", sources / "moved")
    assert open_neurons("moved").columns.tolist() == COLUMNS
