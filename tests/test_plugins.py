"""A package outside hneurons adds one of each kind of thing, and the commands use them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.places import ROOT
from support.tiny_run import make_plan, plan_arguments

pytestmark = pytest.mark.slow  # a whole run is made first

# Several commands in one process, so that torch is imported once.
_SCRIPT = """
import json, sys
from hneurons.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["hneurons", *arguments]
    print("COMMAND", *arguments[:2], flush=True)
    try:
        main()
    except SystemExit as end:
        if end.code:
            print("EXIT", end.code, flush=True)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH that holds the installed plugin package."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(ROOT / "tests" / "plugin", folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    target = folder / "site"
    done = subprocess.run([*pip, "--target", target, folder / "source"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def run_commands(installed: Path, *commands: list[str]) -> tuple[list[str], str]:
    """What each command printed, and all of standard error."""
    paths = [str(installed), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, json.dumps(commands)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [part.partition("\n")[2] for part in done.stdout.split("COMMAND ")[1:]], done.stderr


@pytest.fixture(scope="module")
def run(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run whose answers are what the model says, for half of the questions: only an exact judge can be right."""
    folder = tmp_path_factory.mktemp("run")
    plan, out = make_plan(folder, judge="exact"), folder / "run"
    _answer_half_with_what_is_said(folder, plan)
    arguments = [*plan_arguments(plan), "--signal", "energy", "--out", str(out)]
    neurons, sweep = str(folder / "neurons"), str(folder / "sweep")
    places = ["--neurons", neurons, "--model", plan.model, "--out", sweep]
    said, errors = run_commands(
        installed,
        ["run", *arguments, "--json"],
        ["fit", str(out), "--C", "10", "--out", neurons, "--json"],
        ["bench", "sums", *places, "--alpha", "0,1,3", "--limit", "12", "--controls", "1", "--json"],
        ["audit", "lengths", f"{sweep}/sums", "--json"],
    )
    assert all("EXIT" not in text for text in said), errors
    return dict(zip(("run", "fit", "bench", "audit"), map(json.loads, said), strict=True)) | {"folder": out}


def _answer_half_with_what_is_said(folder: Path, plan: Any) -> None:
    """Draw once to learn the replies of the tiny model, which are the same in every run of equal seeds."""
    import gzip
    from dataclasses import replace

    from hneurons.core.artifacts import load_rows
    from hneurons.runs.run import Run

    Run(folder / "first", replace(plan, judge="alias")).sample()
    for manifest in (folder / "first").rglob("responses/manifest.json"):
        said: dict[str, list[str]] = {}
        for row in load_rows(manifest.parent, stage="responses")[1]:
            said.setdefault(row["question_id"], []).append(row["text"])
        for path, opener in ((folder / "train.jsonl", open), (folder / "test.jsonl.gz", gzip.open)):
            with opener(path, "rt") as file:
                rows = [json.loads(line) for line in file]
            for row in rows:
                replies = [text for text in said.get(row["id"], []) if text.strip()]
                if replies and int(row["id"][1:]) // 2 % 2:  # two relations take turns
                    row["answers"] = replies
            with opener(path, "wt") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)


def test_plugins_are_listed_with_their_words_and_a_broken_one_is_one_sentence(installed: Path) -> None:
    said, _ = run_commands(
        installed, *(["list", kind, "--json"] for kind in ("benchmarks", "judges", "scores", "signals", "audits"))
    )
    benchmarks, judges, scores, signals, audits = map(json.loads, said)
    assert benchmarks["sums"] == "Adds two numbers below twenty." and "falseqa" in benchmarks
    assert judges["exact"].startswith("Calls a reply correct") and "alias" in judges
    assert scores["distinct words"] == "The number of different words in the response." and "answer length" in scores
    assert signals["energy"].startswith("The square of CETT") and "cett" in signals
    assert audits["lengths"] == "Whether replies are as long at every alpha." and "effect" in audits
    assert judges["broken"] == (
        "not available: the judge 'broken' of package 'hneurons-example' cannot be loaded "
        "(RuntimeError: this module was written for another version): repair or uninstall the package"
    )


def test_a_broken_plugin_ends_a_command_that_asks_for_it_with_one_sentence(installed: Path, tmp_path: Path) -> None:
    plan = ["--model", "none", "--questions", "facts", "--test", "facts", "--judge", "broken"]
    said, errors = run_commands(installed, ["sample", *plan, "--out", str(tmp_path / "run")])
    assert said[0].strip() == "EXIT 1"
    assert errors.count("\n") == 1 and errors.startswith("hneurons: the judge 'broken' of package 'hneurons-example'")


def test_without_the_package_its_names_are_unknown(tmp_path: Path) -> None:
    said, errors = run_commands(tmp_path, ["audit", "lengths", "."])
    assert said[0].strip() == "EXIT 2" and "unknown audit 'lengths': known are effect, " in errors


def test_a_run_is_judged_by_a_plugin(run: dict[str, Any]) -> None:
    manifest = json.loads((run["folder"] / "train" / "verdicts" / "manifest.json").read_text())
    assert manifest["settings"]["judge"] == "exact"
    assert run["run"]["plan"]["judge"] == "exact"
    assert run["run"]["detector"]["data"]


def test_a_signal_of_a_plugin_is_measured(run: dict[str, Any]) -> None:
    from hneurons.detection.detector import Detector
    from hneurons.neurons.contributions import load_contributions

    assert load_contributions(run["folder"] / "train" / "contributions").signal == "energy"
    assert Detector.load(run["folder"] / "detector").signal == "energy"


def test_a_score_of_a_plugin_stands_beside_the_detector(run: dict[str, Any]) -> None:
    for result in run["run"]["evaluation"].values():
        methods = {score["method"]: score for score in result["scores"]}
        assert 0 <= methods["distinct words"]["accuracy"]["value"] <= 1
        assert "answer length" in methods


def test_a_benchmark_of_a_plugin_is_swept(run: dict[str, Any]) -> None:
    from hneurons.core.artifacts import load_rows

    result = run["bench"]["benchmarks"]["sums"]
    assert (result["judge"], result["items"]) == ("exact number", 12)
    assert [rate["rate"]["n"] for rate in result["conditions"][0]["alphas"]] == [12, 12, 12]
    rows = load_rows(run["folder"].parent / "sweep" / "sums", stage="run")[1]
    assert len(rows) == 12 * 3 * 2
    for row in rows:
        added = sum(map(int, row["id"].removeprefix("sums:").split("+")))
        assert row["outcome"] == float(row["choice"] == str(added))


def test_an_audit_of_a_plugin_reads_the_sweep(run: dict[str, Any]) -> None:
    findings = run["audit"]["audits"][0]["findings"]
    assert [finding["claim"] for finding in findings] == ["Replies are as long at every alpha"]
    assert set(findings[0]["numbers"]["means"]) == {"0.0", "1.0", "3.0"}
