"""The report of a run: a small run with a planted structure goes through the real stages, and its page is read."""

import json
import math
import random
import re
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hneurons.benchmarks.results import summarize_run
from hneurons.benchmarks.runner import BenchmarkRun
from hneurons.benchmarks.sweeps import neurons_id, results_json
from hneurons.core.artifacts import Manifest, RowStore
from hneurons.core.errors import ArtifactError, InputError, MissingExtraError
from hneurons.core.files import file_hash, write_atomic
from hneurons.core.stats import Estimate
from hneurons.core.types import Question, Response
from hneurons.detection.detector import Detector
from hneurons.detection.evaluation import RESULT, DatasetResult, Difference, RandomNeurons, Score, evaluate_detector
from hneurons.detection.fitting import fit_detector
from hneurons.models.prompts import PromptStyle
from hneurons.neurons.contributions import load_contributions
from hneurons.records.record import Condition, Record, RunSettings
from hneurons.report.findings import (
    describe_result,
    explain_missing,
    judge_result,
    list_caveats,
    read_difference,
    state_verdict,
)
from hneurons.report.page import TEMPLATES
from hneurons.report.provenance import reproduce_command
from hneurons.report.run_report import write_run_report
from hneurons.report.sections import run_sections
from hneurons.report.sections.counts import describe_finder
from hneurons.report.sections.detection import draw_detection, draw_roc
from hneurons.report.sections.neurons import draw_weights
from hneurons.report.sections.path import draw_path
from hneurons.runs.plan import RunPlan
from hneurons.runs.run import Run
from support.tiny_models import tiny_model

pytestmark = pytest.mark.slow  # a whole run is made first

KNOWN, MADE_UP = ["Paris", "café", "tea"], ["William", "lazy dog", "東京"]
HOSTILE = "<script>alert(1)</script>"


def _questions(name: str, count: int) -> list[Question]:
    """Right answers are mostly of KNOWN and wrong ones mostly of MADE_UP: a structure to be found, with noise."""
    rng = random.Random(name)
    found = []
    for number in range(count):
        answer = rng.choice(KNOWN if number % 2 == 0 or rng.random() < 0.2 else ["Shakespeare"])
        found.append(Question(f"{name}-{number}", f"Who {HOSTILE} is number {number} of {name}?", (answer,), name))
    return found


def _answer(question: Question, rng: random.Random, *, wrong: bool) -> str:
    if not wrong:
        return question.answers[0]
    return rng.choice([w for w in (MADE_UP if rng.random() < 0.8 else KNOWN) if w != question.answers[0]])


def _write_responses(run: Run, name: str, *, n: int) -> None:
    tokenizer, rng, rows = run.model.tokenizer, random.Random(name), []
    questions = run.questions[name]
    for number, question in enumerate(questions):
        text = _answer(question, rng, wrong=name == "bioasq" or number % 2 == 1)
        said = "I don't know." if name == "nq-open" else f"It is {text}."
        ids = (*tokenizer(said, add_special_tokens=False)["input_ids"], 1)
        for sample in range(n):
            stop = "length" if number % 17 == 5 and sample == 0 else "stop"
            rows.append(Response(question.id, sample, said, ids, tuple(-rng.random() for _ in ids), stop))
    out = run.place(name, "responses")
    settings = {"model": run.model.identity.to_row(), "style": run.style.to_row(), "n": n}
    store = RowStore(out, stage="responses", settings=settings, expected=1)
    store.commit([r.to_row() for r in rows])
    store.finish(
        {
            "questions": len(questions),
            "asked": len(questions),
            "responses": len(rows),
            "truncated": sum(r.finish_reason == "length" for r in rows),
            "stopped_early": 0,
        }
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the tiny model: bioasq has wrong answers only, and of nq-open nothing is answered."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    plan = RunPlan(
        model="tiny", questions="facts", tests=("invented", "bioasq", "nq-open"), n=3, min_agreement=2, shots=1
    )
    run = Run(folder, plan)
    run.model = tiny_model("llama", chat=True)
    run.style = PromptStyle(shots=(("Who drinks <b>tea</b>?", "The owner"),))
    run.questions = {
        "train": _questions("train", 120),
        "facts": _questions("facts", 80),
        "invented": [
            replace(q, answers=(), answerable=number % 2 == 0)
            for number, q in enumerate(_questions("invented", 60))
        ],
        "bioasq": _questions("bioasq", 20),
        "nq-open": _questions("nq-open", 4),
    }  # fmt: skip
    answers = {q.id: q for q in _questions("invented", 60)}
    for name in run.questions:
        if name == "invented":
            known = run.questions[name]
            run.questions[name] = [answers[q.id] for q in known]
            _write_responses(run, name, n=1)
            run.questions[name] = known
        else:
            _write_responses(run, name, n=3 if name == "train" else 1)
    run.label()
    run.select()
    run.locate()
    run.contributions()
    contributions = load_contributions(run.place("train", "contributions"))
    detector = fit_detector(contributions, subsamples=4, out=folder / "detector")
    datasets = {name: run.dataset(name) for name in ("facts", "invented", "bioasq")}
    evaluate_detector(detector, run.dataset("train"), datasets, draws=3, out=folder / "evaluation")
    return run


@pytest.fixture(scope="module")
def page(finished: Run) -> str:
    return write_run_report(finished).read_text(encoding="utf-8")


@pytest.fixture
def copy(finished: Run, tmp_path: Path) -> Run:
    shutil.copytree(finished.folder, tmp_path / "tiny")
    return Run(tmp_path / "tiny")


def _text(page: str) -> str:
    """What a reader sees, tags and figures gone."""
    bare = re.sub(r"<(style|svg)\b.*?</\1>", " ", page, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", bare).split())


def _results(run: Run) -> dict[str, dict[str, object]]:
    return json.loads((run.folder / "evaluation" / "evaluation.json").read_text())


def test_the_page_is_in_the_run_folder_and_equal_runs_give_equal_bytes(finished: Run, page: str) -> None:
    path = write_run_report(finished)
    assert path == finished.folder / "report.html"
    assert path.read_text(encoding="utf-8") == page
    assert page.lstrip().startswith("<!doctype html>")


def test_the_page_asks_nothing_of_the_network(page: str) -> None:
    outside = re.findall(r"""(?:src|href)\s*=\s*["'](?!#)[^"']*["']|url\((?!#)[^)]*\)|@import""", page)
    assert outside == []
    assert "<link" not in page and page.count("<script") == 2  # the answers, and what lists them
    code = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)[0]
    assert not re.search(r"fetch|XMLHttp|import|WebSocket|innerHTML|eval", code)


def test_text_from_questions_and_shots_is_escaped(page: str) -> None:
    assert HOSTILE not in page and "<b>tea</b>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "&lt;b&gt;tea&lt;/b&gt;" in page


def test_the_headline_and_the_table_give_the_numbers_of_the_evaluation(finished: Run, page: str) -> None:
    text = _text(page)
    for name in ("facts", "invented"):
        result = _results(finished)[name]
        for score in result["scores"]:  # type: ignore[attr-defined]
            area = score["auroc"]
            assert f"{area['value']:.3f} [{area['low']:.3f}, {area['high']:.3f}]" in text
        for drawn in filter(None, (result["random"], result["random_all"])):
            mean, low, high = drawn["auroc"]
            assert f"{mean:.3f} (range {low:.3f} to {high:.3f})" in text
        for row in result["differences"]:  # type: ignore[attr-defined]
            gap = row["auroc"]
            sign = -1 if gap["high"] < 0 else 1
            ends = sorted((sign * gap["low"], sign * gap["high"]))
            assert f"{sign * gap['value']:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]" in text
    assert re.search(r"invented , AUROC [\d.]+ \[[\d., ]+\]: The detector is ", text)
    assert f"{len(Detector.load(finished.folder / 'detector').neuron_set())} H-neurons" in text


def test_a_dataset_that_could_not_be_tested_is_listed_with_the_reason(page: str) -> None:
    text = _text(page)
    assert re.search(r"bioasq , AUROC not testable: 0 right and \d+ wrong answers were located: both classes", text)
    assert "nq-open : no answer was selected" in text
    assert "nan" not in text.lower().split()


def test_a_main_test_set_of_one_class_says_that_nothing_can_be_said(copy: Run) -> None:
    results = _results(copy)
    _forge_results(copy, {"bioasq": results["bioasq"]})
    text = _text(write_run_report(copy).read_text(encoding="utf-8"))
    assert "wrong answers of bioasq were located, so nothing can be said about telling them apart" in text
    assert "nan" not in text.lower().split()


def test_counts_and_what_was_dropped_are_those_of_the_stages(finished: Run, page: str) -> None:
    summary = json.loads((finished.place("train", "examples") / "manifest.json").read_text())["summary"]
    selected = summary["selected"]
    row = re.search(r'<tr class="stage"><th>selected, right \+ wrong</th>(.*?)</tr>', page)
    assert row and f"{selected['right']} + {selected['wrong']}" in row[1]
    for reason in summary["dropped"]:
        assert f"dropped: {reason}" in page


def test_what_the_finder_costs_is_said_by_class() -> None:
    spans = {"found": {"right": 40, "wrong": 1_200}, "not_found": {"right": 2, "wrong": 0}}
    said = describe_finder("response", {"train": {"spans": spans}, "new": {"spans": spans}, "open": {}})
    assert said == (
        "The finder 'response' located 2,480 of 2,484 selected answers. Left out for want of a place: 4 right and 0 "
        "wrong."
    )
    assert describe_finder("response", {"open": {}}) == ""


def test_the_contrast_of_invented_and_real_things_is_named(page: str) -> None:
    text = _text(page)
    assert "contrast: invented against real" in text
    assert "whose answers nobody checked" in text


def test_examples_show_the_marked_answer_and_the_mistakes(finished: Run, page: str) -> None:
    items = _results(finished)["facts"]["items"]
    threshold = Detector.load(finished.folder / "detector").threshold
    missed = sum(wrong and odds <= threshold for _, wrong, odds in items)  # type: ignore[attr-defined]
    assert f"Mistakes: wrong answers it lets pass ({missed})" in page
    assert re.search(r"→ It is <mark>(Paris|café|tea|William|lazy dog|東京)</mark>\.", page)


def answers_in(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="answers-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_all_answers_to_test_questions_are_in_the_page_with_verdict_and_log_odds(finished: Run, page: str) -> None:
    rows = {row["i"]: row for row in answers_in(page)["rows"]}
    results = finished.load_evaluation()
    assert len(rows) == sum(len(finished.load_responses(name)) for name in results) > 100
    for name, result in results.items():
        odds = {example: value for example, _, value in result.items}
        for judged in finished.load_judgements(name):
            row = rows[judged.id]
            assert (row["v"], row["d"]) == (judged.verdict, name)
            assert row["o"] == (pytest.approx(odds[judged.id], abs=1e-3) if judged.id in odds else None)
    for example in finished.load_located("facts"):
        text, span = rows[example.id]["t"], rows[example.id]["s"]
        assert example.char_span is None or text[slice(*span)] == example.response.text[slice(*example.char_span)]


def test_each_neuron_leads_to_the_answers_where_its_signal_is_highest(finished: Run, page: str) -> None:
    found, neurons = answers_in(page)["neurons"], finished.load_detector().neuron_set()
    measured = finished.load_contributions("facts")
    values = {row["example_id"]: number for number, row in enumerate(measured.rows) if row["region"] == "answer"}
    assert len(found) == min(len(neurons), 20) > 0
    for layer, neuron in zip(neurons.layers[:20], neurons.neurons[:20], strict=True):
        column = np.array([layer * neurons.identity.neurons + neuron])
        signal = {i: float(measured.matrix([place]).gather(column, 1 << 20)[0, 0]) for i, place in values.items()}
        strongest = found[f"{layer}/{neuron}"]
        assert [value for _, value in strongest] == pytest.approx(sorted(signal.values(), reverse=True)[:10], rel=1e-3)
        assert all(value == pytest.approx(signal[i], rel=1e-3) for i, value in strongest)
        assert f'data-neuron="{layer}/{neuron}"' in page


def test_a_page_without_contributions_has_no_links_from_neurons(copy: Run) -> None:
    shutil.rmtree(copy.place("facts", "contributions"))
    text = write_run_report(copy).read_text()
    assert answers_in(text)["neurons"] == {} and 'href="#answers" data-neuron' not in text


def test_answers_beyond_the_cap_are_counted(copy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hneurons.report.sections.answers.MOST", 7)
    total = sum(len(copy.load_responses(name)) for name in copy.load_evaluation())
    text = write_run_report(copy).read_text()
    rows = answers_in(text)["rows"]
    assert len(rows) == 7 and all(row["o"] is not None for row in rows)
    assert f"{total - 7} answers more" in text


def test_every_figure_is_drawn_with_ids_of_its_own(page: str) -> None:
    assert page.count("<svg ") == 6
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    used = re.findall(r'(?:url\(|href=")#([^)"]+)', page)
    assert used and set(used) <= set(ids)


def test_caveats_come_from_the_settings_of_the_run(page: str) -> None:
    text = _text(page)
    assert "Consistent means 2 of 3 samples here" in text
    assert "Every question comes after 1 example:" in text
    assert "Samples were drawn at temperature" not in text
    assert "nothing here says that these neurons cause wrong answers" in text


def test_half_samples_whose_path_ended_before_the_chosen_penalty_are_counted(copy: Run, page: str) -> None:
    assert re.search(r"The path of \d of 4 half-samples goes down to the chosen penalty", _text(page))
    assert Manifest.load(copy.folder / "detector").summary["stability"]["half_samples"] == 4
    detector = Detector.load(copy.folder / "detector")
    for reached, said in ((4, "penalty."), (3, "penalty; the others ended before"), (None, "")):
        known = {k: v for k, v in detector.settings["stability"].items() if k != "reached"}
        settings = {**detector.settings, "stability": known | ({} if reached is None else {"reached": reached})}
        replace(detector, settings=settings).save(copy.folder / "detector")
        _forge_evaluation(copy, settings)
        text = _text(write_run_report(copy).read_text(encoding="utf-8"))
        assert (f"The path of {reached} of 4 half-samples goes down to the chosen {said}" in text) == bool(said)


def test_selection_probabilities_that_were_not_measured_are_said_to_be_so(copy: Run) -> None:
    folder = copy.folder / "detector"
    detector = Detector.load(folder)
    settings = {k: v for k, v in detector.settings.items() if k != "stability"}
    unknown = np.full(len(detector.columns), np.nan)
    replace(detector, selection_probability=unknown, settings=settings).save(folder)
    _forge_evaluation(copy, settings)
    text = _text(write_run_report(copy).read_text(encoding="utf-8"))
    assert "Selection probabilities were not measured" in text
    assert "nan" not in text.lower().split()


def test_a_run_without_any_h_neuron_has_a_page_that_says_so(copy: Run) -> None:
    folder = copy.folder / "detector"
    detector = Detector.load(folder)
    none = np.zeros(0)
    empty = replace(detector, columns=none.astype(np.int64), coef=none, scale=none, selection_probability=none)
    empty.save(folder)
    shutil.rmtree(copy.folder / "evaluation")
    tests = {"facts": copy.dataset("facts")}
    evaluate_detector(empty, copy.dataset("train"), tests, draws=3, out=copy.folder / "evaluation")
    text = _text(write_run_report(copy).read_text(encoding="utf-8"))
    assert "No neuron was selected at the chosen penalty" in text
    assert "0 H-neurons" in text
    assert "invented : it was not among the datasets evaluated" in text
    assert "nan" not in text.lower().split()


def test_a_sweep_of_neurons_of_an_earlier_detector_is_marked(copy: Run) -> None:
    present = Detector.load(copy.folder / "detector").neuron_set()
    records = [Record(f"i{n}", "h_neurons", alpha, outcome=n % 2) for n in range(4) for alpha in (1.0, 2.0)]
    settings = RunSettings("toy", "even", conditions={"h_neurons": Condition()})
    results = {"toy": summarize_run(BenchmarkRun(settings, "rule", records))}
    about = {"model": "m", "size": 7, "scope": "all"}
    for name, neurons in (("all", "of-an-earlier-fit"), ("again", neurons_id(present))):
        (copy.folder / "bench" / name).mkdir(parents=True)
        row = results_json(results, about | {"neurons": neurons})
        write_atomic(copy.folder / "bench" / name / "results.json", json.dumps(row))
    text = " ".join(_text(write_run_report(copy).read_text()).split())
    assert text.count("not those of the present detector") == 1
    assert text.index("again: 7 neurons") < text.index("all: 7 neurons, not those of the present detector")
    assert f"The 7 neurons scaled here are not the {len(present)} H-neurons of this run's present detector" in text


def test_a_run_that_could_evaluate_no_dataset_has_a_page(copy: Run) -> None:
    _forge_results(copy, {})
    page = write_run_report(copy).read_text(encoding="utf-8")
    assert "No test set could be evaluated." in page
    assert page.count("<svg ") == 4


def test_a_detector_fitted_before_log_losses_were_stored_has_a_page(copy: Run) -> None:
    detector = Detector.load(copy.folder / "detector")
    path = [{k: v for k, v in point.items() if k != "held_out_log_loss"} for point in detector.settings["path"]]
    settings = {**detector.settings, "path": path}
    replace(detector, settings=settings).save(copy.folder / "detector")
    _forge_evaluation(copy, settings)
    assert "The path of penalties" in write_run_report(copy).read_text(encoding="utf-8")


def test_an_evaluation_of_another_detector_is_refused(copy: Run) -> None:
    _forge_evaluation(copy, {"labels": "3-vs-1"})
    with pytest.raises(ArtifactError, match="of another detector"):
        write_run_report(copy)


def test_a_run_without_detector_gives_one_sentence(copy: Run) -> None:
    shutil.rmtree(copy.folder / "detector")
    with pytest.raises(InputError, match="no detector"):
        write_run_report(copy)


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_is_named_with_the_command_to_install_it(
    finished: Run, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"'{package}': run  pip install 'hneurons\[report\]'"):
        write_run_report(finished)


def test_the_command_gives_the_same_plan_again() -> None:
    from typer.testing import CliRunner

    from hneurons.cli.app import app

    plan = RunPlan(
        model="my model", questions="facts:a b.jsonl", tests=("nec", "nq_open:x.gz"), n=5, min_agreement=4, limit=70
    )
    seen: list[RunPlan] = []

    def stop(folder: Path, given: RunPlan, **_: object) -> None:
        seen.append(given)
        raise InputError("stop here")

    words = shlex.split(reproduce_command(plan, "out"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hneurons.cli.app.Run", stop)
        CliRunner().invoke(app, words[1:])
    assert seen == [plan]


def test_a_fit_of_other_settings_is_reproduced_stage_by_stage() -> None:
    plan = RunPlan(model="m", questions="facts", judge="llm")
    lines = reproduce_command(
        plan, "out", fit={"labels": "3-vs-1", "columns": "standardized", "C": 0.5}, judge="big", sampler="m8"
    )
    assert lines.splitlines() == [
        "hneurons sample --model m --questions facts --judge llm --sample-url URL --sample-model m8 --out out",
        "hneurons label out --judge-url URL --judge-model big",
        "hneurons select out",
        "hneurons locate out --judge-url URL --judge-model big",
        "hneurons contributions out",
        "hneurons fit out --labels 3-vs-1 --C 0.5",
        "hneurons evaluate out",
        "hneurons report out",
    ]


def test_a_fit_as_the_plan_says_is_reproduced_by_the_plan() -> None:
    plan = RunPlan(
        model="m", questions="facts", labels="3-vs-1", scaling="raw", selection="capability", capability="facts"
    )
    fit = {"labels": "3-vs-1", "columns": "raw", "C": None, "choice": {"benchmark": "facts", "n": 7}}
    assert reproduce_command(plan, "out", fit=fit) == (
        "hneurons run --model m --questions facts --labels 3-vs-1 --scaling raw --select capability --capability facts "
        "--out out"
    )
    other = reproduce_command(plan, "out", fit={**fit, "labels": "1-vs-1", "choice": None}).splitlines()
    assert "hneurons fit out --labels 1-vs-1 --select held-out" in other


def _forge_results(run: Run, results: dict[str, dict[str, object]]) -> None:
    folder = run.folder / "evaluation"
    write_atomic(folder / "evaluation.json", json.dumps(results))
    manifest = Manifest.load(folder)
    manifest.files = {"evaluation.json": file_hash(folder / "evaluation.json")}
    manifest.save(folder)


def _forge_evaluation(run: Run, settings: dict[str, object]) -> None:
    """Let the evaluation be of a detector with these settings, as one by an earlier version says."""
    path = run.folder / "evaluation" / RESULT
    results = json.loads(path.read_bytes())
    for result in results.values():
        result["detector_content"] = ""
    path.write_bytes(json.dumps(results).encode())
    manifest = Manifest.load(run.folder / "evaluation")
    manifest.settings["detector_settings"] = settings
    manifest.files[RESULT] = file_hash(path)
    manifest.save(run.folder / "evaluation")


def _gap(value: float, half: float = 0.05) -> Estimate:
    return Estimate(value, value - half, value + half, 200)


def _result(
    auroc: Estimate, *, random_mean: float = 0.6, highest: float = 0.65, question: float = 0.55
) -> DatasetResult:
    spread = (random_mean, random_mean - 0.05, highest)
    again, alone = "H-neurons, refitted", _gap(auroc.value - 0.02)
    differences = (
        Difference("H-neuron detector", again, _gap(0.02)),
        Difference("H-neuron detector", "question only", _gap(auroc.value - question)),
        Difference(again, "random neurons", _gap(auroc.value - random_mean - 0.02)),
    )
    named = {"H-neuron detector": auroc, again: alone, "question only": _gap(question)}
    return DatasetResult(
        "facts", 100, 100, 0, tuple(Score(name, area, area) for name, area in named.items()),
        RandomNeurons(20, 8, spread, spread, again), ((0.0, 1.0), (0.0, 1.0)), (), differences,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.06, "better by 0.060 [0.010, 0.110]"),
        (-0.02, "not distinguishable: -0.020 [-0.070, 0.030]"),
        (0.05, "not distinguishable: 0.050 [0.000, 0.100]"),
        (-0.06, "worse by 0.060 [0.010, 0.110]"),
        (math.nan, ""),
    ],
)
def test_only_an_interval_of_the_difference_wholly_on_one_side_tells_methods_apart(value: float, expected: str) -> None:
    assert read_difference(_gap(value)) == expected


def test_a_null_result_is_stated_as_plainly_as_a_strong_one() -> None:
    strong = judge_result(_result(_gap(0.8)))
    assert strong == (
        "The detector is better than chance by 0.300 [0.250, 0.350] and question only by 0.250 [0.200, 0.300]. "
        "H-neurons, refitted, against 8 random neurons fitted alike, on average of 20 draws: better by 0.180 "
        "[0.130, 0.230]."
    )
    null = judge_result(_result(_gap(0.52)))
    assert null == (
        "The detector is not distinguishable from chance (0.020 [-0.030, 0.070]) and question only (-0.030 "
        "[-0.080, 0.020]). H-neurons, refitted, against 8 random neurons fitted alike, on average of 20 draws: worse "
        "by 0.100 [0.050, 0.150]."
    )


def test_an_interval_that_contains_another_methods_value_may_still_be_a_difference() -> None:
    """Methods that err on the same answers move together: the detector's own interval says too little."""
    wide = _result(_gap(0.66, 0.1))
    assert wide.detector.auroc.low < 0.6 and "better than" in judge_result(wide)
    assert "question only by 0.110 [0.060, 0.160]" in judge_result(wide)


def test_refitted_neurons_no_better_than_random_ones_become_a_caveat(finished: Run) -> None:
    detector = Detector.load(finished.folder / "detector")
    told = list_caveats(finished.plan, detector, {"facts": _result(_gap(0.65))}, {})
    expected = "H-neurons, refitted, on facts (0.030 [-0.020, 0.080])"
    assert any("not shown to be better than as many random ones" in t and expected in t for t in told)
    told = list_caveats(finished.plan, detector, {"facts": _result(_gap(0.8))}, {})
    assert not any("not shown to be better" in t for t in told)


def test_an_evaluation_of_an_earlier_version_opens_and_says_what_it_lacks(copy: Run) -> None:
    old = {name: {k: v for k, v in row.items() if k != "differences"} for name, row in _results(copy).items()}
    _forge_results(copy, old)
    text = _text(write_run_report(copy).read_text(encoding="utf-8"))
    assert "made by an earlier version, which did not compare methods answer by answer: delete its folder" in text
    assert "better by" not in text and "not distinguishable" not in text


def test_the_headline_leaves_out_what_was_not_measured(finished: Run) -> None:
    detector = Detector.load(finished.folder / "detector")
    result = _result(Estimate(0.7, 0.6, 0.8, 200), random_mean=math.nan, highest=math.nan)
    sentence = describe_result(detector, result)
    assert "nan" not in sentence and "random" not in sentence and "0.550" in sentence
    assert "0.700 [0.600, 0.800]" in sentence and "question only alone reaches 0.550" in sentence


def test_a_telling_leak_check_becomes_a_caveat(finished: Run) -> None:
    detector = Detector.load(finished.folder / "detector")
    result = _result(Estimate(0.8, 0.75, 0.85, 200), question=0.71)
    told = list_caveats(finished.plan, detector, {"facts": result}, {})
    assert any("Question only alone reaches AUROC 0.710 on facts" in t for t in told)


@pytest.mark.parametrize("early", [0, 7])
def test_counts_of_consistent_questions_are_called_rates_only_where_all_were_pursued(finished: Run, early: int) -> None:
    kept = {"consistent": {"right": 10, "wrong": 30}}
    summaries = {"train": {"responses": {"asked": 50, "stopped_early": early}, "examples": kept}}
    told = list_caveats(finished.plan, Detector.load(finished.folder / "detector"), {}, summaries)
    assert "Of 50 questions asked, 10 (20.0%) were found consistently right and 30" in told[0]
    assert ("not rates" in told[0]) == bool(early)


def test_an_unfinished_stage_is_the_reason_a_dataset_is_missing() -> None:
    assert explain_missing({"responses": {}}) == "its stage 'verdicts' is not finished"


def test_figures_of_nothing_are_empty() -> None:
    assert draw_detection({}) == draw_roc({}) == draw_weights([]) == draw_path([], 0) == ""


def test_the_page_begins_with_one_sentence_and_four_numbers(page: str, finished: Run) -> None:
    head = page[: page.index("<main>")]
    detector, result = finished.load_detector(), finished.load_evaluation()["facts"]
    assert f'<p class="verdict">{state_verdict(detector, result)}</p>' in head
    numbers = re.findall(r'<dd class="number">([^<]*)</dd>', head)
    assert len(numbers) == 4
    assert numbers[0] == f"{result.detector.auroc.value:.3f}" and numbers[3] == str(len(detector.neuron_set()))
    rivals = [score for score in result.scores[2:]]
    assert numbers[2] == f"{max(score.auroc.value for score in rivals):.3f}"


def test_the_verdict_names_what_is_beaten_and_what_is_not(finished: Run) -> None:
    detector = finished.load_detector()
    strong, null = _result(_gap(0.8)), _result(_gap(0.52))
    on = "On unseen facts questions the detector is"
    assert state_verdict(detector, strong) == (
        f"{on} better than chance, question only and as many random neurons fitted alike."
    )
    assert state_verdict(detector, null) == (
        f"{on} not shown to be better than chance, question only and as many random neurons fitted alike."
    )
    assert state_verdict(detector, _result(_gap(0.62))) == (
        f"{on} better than chance and question only, but not than as many random neurons fitted alike."
    )
    assert "nothing is known" in state_verdict(detector, None)
    empty = replace(detector, columns=detector.columns[:0], coef=detector.coef[:0])
    assert "there is no detector" in state_verdict(empty, strong)


def test_pages_have_landmarks_and_colours_for_the_dark_and_every_link_leads_somewhere(page: str) -> None:
    for tag in ("header", "main", "nav aria-label="):
        assert page.count(f"<{tag}") == 1
    assert "prefers-color-scheme: dark" in page
    anchors = re.findall(r"<nav[^>]*>(.*?)</nav>", page, flags=re.S)[0]
    for name in re.findall(r'href="#([^"]+)"', anchors):
        assert f'id="{name}"' in page and f'aria-labelledby="{name}"' in page
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.S))
    bare = re.findall(r": (#[0-9a-f]{6})", drawings)
    assert not bare, "a colour that is not one of the page's stays dark in the dark"
    assert page.count("<details") == page.count("<summary") >= 5


def test_a_section_is_a_file_and_its_template_and_files_are_found_in_order() -> None:
    sections = run_sections()
    names = [section.name for section in sections]
    assert names == [
        "detection", "rivals", "calibration", "abstention", "counts", "neurons", "path", "origin", "examples",
        "answers", "sweeps", "caveats", "settings",
    ]  # fmt: skip
    assert {path.stem for path in (TEMPLATES / "sections").iterdir()} == set(names)
    assert [s.place for s in sections] == sorted(s.place for s in sections)
