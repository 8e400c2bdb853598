"""The command `bench`: records, sets, results and page of a sweep, killed or refused, and sweeps of a run."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from hneurons.audits import load_run
from hneurons.benchmarks.sweeps import neurons_id
from hneurons.cli.bench import bench
from hneurons.core.errors import InputError
from hneurons.core.files import read_checked
from hneurons.core.verification import verify_folder
from hneurons.detection.detector import Detector
from hneurons.models.language_model import load_model
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.report.bench_report import run_sweeps
from hneurons.runs.plan import RunPlan
from support.damage import check_json
from support.tiny_models import tiny_model, tiny_tokenizer, tiny_transformer
from support.toy_benchmark import make_detector, make_sets


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model and a neuron set of it, as a user would have them on disk."""
    folder = tmp_path_factory.mktemp("saved")
    tiny_transformer("llama").save_pretrained(folder / "model")
    tiny_tokenizer(chat=True).save_pretrained(folder / "model")
    make_sets(load_model(str(folder / "model"), device="cpu"))["h_neurons"].save(folder / "neurons")
    make_sets(tiny_model(seed=3))["h_neurons"].save(folder / "other")
    identity = load_model(str(folder / "model"), device="cpu").identity
    NeuronSet.from_columns(identity, np.zeros(0, np.int64), np.zeros(0), data={}).save(folder / "empty")
    return folder


def command(saved: Path, *options: str, names: Sequence[str] = ("copying",), neurons: str = "neurons") -> Any:
    app = typer.Typer()
    app.command()(bench)
    given = ["--model", str(saved / "model"), "--neurons", str(saved / neurons), "--device", "cpu", *options]
    return CliRunner().invoke(app, [*names, *given])


@pytest.mark.slow
def test_the_command_writes_records_sets_results_and_page(saved: Path, tmp_path: Path) -> None:
    options = ("--alpha", "0,1,3", "--controls", "1", "--control-kinds", "layer_matched,contribution_matched")
    options += ("--limit", "3", "--max-new-tokens", "4", "--out", str(tmp_path), "--json")
    done = command(saved, *options, names=("copying", "nonexist"))
    assert done.exit_code == 0, done.exception
    row = json.loads(done.stdout)
    assert row == read_checked(tmp_path / "results.json")
    assert set(row["benchmarks"]) == {"copying", "nonexist"}
    assert row["benchmarks"]["copying"]["judge"] == "exact number"
    assert check_json(tmp_path) > 6 and {check.state for check in verify_folder(tmp_path)} == {"whole"}
    names = {"h_neurons", "random_layer_matched_0", "random_contribution_matched_0"}
    assert (
        {path.name for path in (tmp_path / "neurons").iterdir()}
        == names
        == set(load_run(tmp_path / "copying").conditions)
    )
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 3  # a forest plot over both, and one figure each
    again = command(saved, *options)  # one of the two alone: its controls are the same ones
    assert again.exit_code == 0, again.exception
    assert json.loads(again.stdout)["benchmarks"] == row["benchmarks"]
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


@pytest.mark.parametrize(
    ("options", "neurons", "message"),
    [
        (("--alpha", "much"), "neurons", "numbers with commas"),
        (("--alpha", "1,nan"), "neurons", "numbers with commas"),
        (("--scope", "some"), "neurons", "--scope should be"),
        (("--control-kinds", "lucky"), "neurons", "unknown kind of control"),
        (("--control-kinds", ""), "neurons", "names no kind of random neurons"),
        (("--dtype", "int3"), "neurons", "unknown dtype"),
        (("--judge-threshold", "0.1"), "neurons", "which grades none of these benchmarks"),
        ((), "other", "belong to tiny-llama"),
        ((), "empty", "is empty"),
        ((), "nowhere", "there is no folder"),
    ],
)
def test_the_command_refuses_bad_input_in_one_sentence(
    saved: Path, tmp_path: Path, options: tuple[str, ...], neurons: str, message: str
) -> None:
    done = command(saved, *options, "--out", str(tmp_path), neurons=neurons)
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)


@pytest.mark.slow
def test_a_command_killed_for_good_goes_on_and_ends_with_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    options = ("--controls", "5", "--limit", "14", "--max-new-tokens", "2", "--out")
    given = ("--model", str(saved / "model"), "--neurons", str(saved / "neurons"), "--device", "cpu", *options)
    binary = str(Path(sys.executable).with_name("hneurons"))
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with subprocess.Popen([binary, "bench", "copying", *given, str(killed)], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            path = killed / "copying" / "manifest.json"
            if path.is_file() and json.loads(path.read_text())["done"]:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    found = json.loads((killed / "copying" / "manifest.json").read_text())
    assert 0 < found["done"] < found["expected"]
    for out in (killed, whole):
        done = command(saved, *options, str(out))
        assert done.exit_code == 0, done.exception
    for name in ("copying/rows.jsonl", "copying/manifest.json", "results.json", "neurons/h_neurons/neurons.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


@pytest.fixture(scope="module")
def run_folder(saved: Path) -> Path:
    """What `bench` reads of a run: its plan and its detector."""
    folder = saved / "run"
    RunPlan(model=str(saved / "model"), questions="facts").save(folder)
    make_detector(load_model(str(saved / "model"), device="cpu")).save(folder / "detector")
    return folder


def bench_run(*options: str, names: Sequence[str] = ("copying",)) -> Any:
    app = typer.Typer()
    app.command()(bench)
    small = ("--device", "cpu", "--alpha", "0,3", "--controls", "1", "--limit", "2", "--max-new-tokens", "4", "--json")
    return CliRunner().invoke(app, [*names, *small, *options])


@pytest.mark.slow
def test_a_run_gives_its_own_neurons_model_and_place_and_benchmarks_gather_there(run_folder: Path) -> None:
    for name in ("copying", "nonexist"):
        done = bench_run("--neurons", str(run_folder), names=(name,))
        assert done.exit_code == 0, done.exception
    row = json.loads((run_folder / "bench" / "all" / "results.json").read_text())
    assert set(row["benchmarks"]) == {"copying", "nonexist"}
    assert row["about"]["size"] == 3
    present = Detector.load(run_folder / "detector").neuron_set()
    assert row["about"]["neurons"] == neurons_id(present)
    assert [sweep["outdated"] for sweep in run_sweeps(run_folder, neurons_id(present))] == [False]
    done = bench_run("--neurons", str(run_folder), "--when-risk", "0.4")
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["about"]["when_risk"] == 0.4
    assert "above 0.4" in (run_folder / "bench" / "all-risk-0.4" / "report.html").read_text()
    other = bench_run("--neurons", str(run_folder), "--controls", "2", names=("facts",))
    assert isinstance(other.exception, InputError)
    assert "another sweep (it differs in controls)" in str(other.exception)


def test_a_risk_without_a_detector_and_a_folder_that_is_no_run_are_refused(saved: Path, tmp_path: Path) -> None:
    place = ("--neurons", str(saved / "neurons"))
    for options, message in (
        ((*place, "--out", str(tmp_path)), "no run, so --model is needed"),
        ((*place, "--model", str(saved / "model")), "no run, so --out is needed"),
        ((*place, "--model", "m", "--out", str(tmp_path), "--when-risk", "0.5"), "holds neurons but no detector"),
    ):
        done = bench_run(*options)
        assert isinstance(done.exception, InputError)
        assert message in str(done.exception)
