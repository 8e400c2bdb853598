"""The choice of the penalty by ability: accuracies by hand, equal sets run once, resumed, kept with the detector."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from hneurons.benchmarks import asking, runner
from hneurons.benchmarks import capability as capability_module
from hneurons.benchmarks.benchmark import Benchmark, Item
from hneurons.benchmarks.capability import CapabilityChoice
from hneurons.benchmarks.runner import run_benchmark
from hneurons.cli.app import app
from hneurons.core.errors import ArtifactError, InputError, NotEnoughDataError
from hneurons.detection.detector import Detector
from hneurons.detection.fitting import Candidate, fit_detector
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.records.record import Record
from support.planted import make_dataset, read_tree
from support.tiny_models import tiny_model
from support.tiny_run import make_plan, plant_judge


class Toy(Benchmark):
    """Whether the characters of a reply have an even sum; empty ones cannot be scored."""

    outcome = "even"
    max_new_tokens = 6

    def read(self, files: Sequence[Path]) -> Iterable[Item]:
        return ITEMS

    def grade(self, item: Item, record: Record, replies: Sequence[str]) -> Record:
        if not replies[-1]:
            return replace(record, error="empty reply")
        return replace(record, outcome=float(sum(map(ord, replies[-1])) % 2 == 0))


WORDS = "capital of France/author of Hamlet in the year 1600/lazy dog/tea/quick brown fox/owner/naïve café/東京/Paris"
ITEMS = [Item(word, (f"{word} " * n + "?",)) for n, word in enumerate(WORDS.split("/"), 1)]
EMPTY = np.zeros(0, np.int64)


def candidate(model: Any, columns: Any, accuracy: float) -> Candidate:
    columns = np.array(columns, dtype=np.int64)
    neurons = NeuronSet.from_columns(model.identity, columns, np.arange(len(columns), 0.0, -1), data={})
    return Candidate(1.0, 0.5, accuracy, neurons)


def make_candidates(model: Any) -> list[Candidate]:
    """A sparse path: nothing, few, the same few again, more; the last point is unknown in a fold."""
    few, more, many = np.arange(0, 144, 12), np.arange(0, 144, 4), np.arange(0, 144, 2)
    sets = (EMPTY, few, few[::-1], more, many)
    return [candidate(model, c, a) for c, a in zip(sets, (0.99, 0.70, 0.72, 0.71, math.nan), strict=True)]


def test_the_point_chosen_has_the_highest_sum_of_held_out_accuracy_and_ability() -> None:
    model = tiny_model(chat=True)
    candidates = make_candidates(model)
    point, table = CapabilityChoice(model, "toy", Toy(), ITEMS).choose(candidates, None)
    correct = []
    for c in candidates:
        chosen = c.neurons if len(c.neurons) else candidates[1].neurons
        alpha = 0.0 if len(c.neurons) else 1.0
        records = run_benchmark(model, "toy", Toy(), ITEMS, {"x": chosen}, alphas=(alpha,)).records
        correct.append(sum(r.outcome == 1 for r in records if r.alpha == alpha) / len(ITEMS))
    assert [row["capability"] for row in table["grid"]] == correct
    assert len(set(correct)) > 1
    sums = [c.accuracy + rate for c, rate in zip(candidates, correct, strict=True)]
    assert point == max((1, 2, 3), key=lambda n: sums[n])
    assert [row.get("sum") for row in table["grid"]] == [None, *sums[1:4], None]
    assert table["grid"][4]["held_out_accuracy"] is None
    assert (table["plain"], table["n"], table["benchmark"]) == (correct[0], 9, "toy")
    assert json.loads(json.dumps(table)) == table


def test_equal_sets_are_one_condition_and_of_equal_sums_the_sparser_point_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = tiny_model(chat=True), []

    def count(model: Any, name: str, benchmark: Any, items: Any, sets: Any, **options: Any) -> Any:
        seen.append(len(sets))
        return run_benchmark(model, name, benchmark, items, sets, **options)

    monkeypatch.setattr(capability_module, "run_benchmark", count)
    same = [candidate(model, c, 0.7) for c in ([3, 40], [40, 3], [3, 40])]
    assert CapabilityChoice(model, "toy", Toy(), ITEMS).choose(same, None)[0] == 0
    assert seen == [1]


def test_without_any_point_that_has_neurons_nothing_is_chosen() -> None:
    model = tiny_model(chat=True)
    choice = CapabilityChoice(model, "toy", Toy(), ITEMS)
    with pytest.raises(NotEnoughDataError, match="no point of the path"):
        choice.choose([candidate(model, EMPTY, 0.9), candidate(model, [3], math.nan)], None)


def test_a_killed_choice_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(chat=True)
    monkeypatch.setattr(runner, "_CELLS", 8)  # two items a chunk
    choice, candidates = CapabilityChoice(model, "toy", Toy(), ITEMS), make_candidates(model)
    whole = choice.choose(candidates, tmp_path / "whole")
    original, calls = asking.Job.run, []

    def run_some(job: Any, items: Any, *rest: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(job, items, *rest)

    monkeypatch.setattr(asking.Job, "run", run_some)
    with pytest.raises(KeyboardInterrupt):
        choice.choose(candidates, tmp_path / "killed")
    assert choice.choose(candidates, tmp_path / "killed") == whole
    assert len(calls) == 3 + 5 - 2
    assert read_tree(tmp_path / "killed") == read_tree(tmp_path / "whole")


class Third:
    """A choice that always takes the point of number 3."""

    settings = {"by": "number"}  # noqa: RUF012

    def choose(self, candidates: Sequence[Candidate], out: Path | None) -> tuple[int, dict[str, Any]]:
        self.seen = candidates
        return 3, {"by": "number", "grid": [c.accuracy for c in candidates]}


@pytest.mark.slow
def test_fit_takes_the_point_that_was_chosen_and_keeps_the_table(tmp_path: Path) -> None:
    data = make_dataset(120, planted={(0, 7): 3.0, (2, 31): 2.5}).contributions
    choice = Third()
    detector = fit_detector(data, choice=choice, subsamples=0, out=tmp_path)
    assert detector.settings["chosen"] == 3
    assert detector.neuron_set().columns.tolist() == choice.seen[3].neurons.columns.tolist()
    assert [len(c.neurons) for c in choice.seen] == [p["positive"] for p in detector.settings["path"]]
    assert max(c.accuracy for c in choice.seen) > 0.9
    assert Detector.load(tmp_path).settings["choice"]["grid"] == [c.accuracy for c in choice.seen]
    with pytest.raises(ArtifactError, match="choice was"):
        fit_detector(data, subsamples=0, out=tmp_path)
    with pytest.raises(InputError, match="not both"):
        fit_detector(data, C=1.0, choice=choice)


# The verb.


@pytest.mark.slow
def test_the_verb_fits_by_ability_and_the_detector_and_report_show_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hneurons.report.run_report import write_run_report
    from hneurons.runs.run import Run

    plant_judge(monkeypatch)
    job = Run(tmp_path / "run", make_plan(tmp_path), device="cpu")
    for stage in (job.sample, job.label, job.select, job.locate, job.contributions):
        stage()
    given = ["fit", str(job.folder), "--select", "capability", "--capability", "facts", "--capability-limit", "4"]
    done = CliRunner().invoke(app, [*given, "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.exception
    table = Detector.load(job.folder / "detector").settings["choice"]
    assert json.loads(done.stdout)["settings"]["choice"] == table
    assert (table["benchmark"], table["n"]) == ("facts", 4)
    assert sum("sum" in row for row in table["grid"]) >= 1
    job.evaluate()
    text = re.sub(r"\s+", " ", write_run_report(job).read_text())
    assert "Chosen by accuracy and ability" in text
    assert "share of 4 facts items" in text
    assert text.count("←") == 2
    refused = CliRunner().invoke(app, ["fit", str(job.folder), "--select", "luck"])
    assert isinstance(refused.exception, InputError)
    # A sweep with the run's neurons stands in its page, too.
    assert "What scaling the neurons does" not in text
    swept = ["bench", "copying", "nonexist", "--neurons", str(job.folder), "--alpha", "0,2", "--controls", "2"]
    for more in ((), ("--when-risk", "0.3")):
        done = CliRunner().invoke(app, [*swept, "--limit", "4", "--max-new-tokens", "4", "--device", "cpu", *more])
        assert done.exit_code == 0, done.exception
    page = write_run_report(job).read_text()
    text = re.sub(r"\s+", " ", page)
    assert "What scaling the neurons does" in text
    assert "all-risk-0.3" in text and "only while the running risk is above 0.3" in text
    assert text.count("number copied") >= 2
    assert text.count("What this sweep does not show") == 2
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_only_a_benchmark_of_ability_may_choose_the_penalty(tmp_path: Path) -> None:
    from hneurons.runs.plan import RunPlan
    from hneurons.runs.run import Run

    run = Run(tmp_path, RunPlan(model="none", questions="facts", limit=40))
    with pytest.raises(InputError, match="should show an ability"):
        run._capability("nonexist", 5)


def test_no_fact_of_a_test_set_chooses_the_penalty_in_other_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hneurons.runs.plan import TRAIN, RunPlan
    from hneurons.runs.run import Run

    run = Run(tmp_path, RunPlan(model="none", questions="facts", limit=400))
    monkeypatch.setattr(Run, "model", None)
    tested = {q.group for name, asked in run.questions.items() if name != TRAIN for q in asked}
    items = run._capability("facts", None).items
    assert tested and items
    assert not tested & {item.question.group for item in items if item.question}
