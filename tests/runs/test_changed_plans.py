"""A run whose settings change: what is made anew, what is used again, what is refused, and folders that move."""

import html
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hneurons.answers.judges.known_error import describe_error
from hneurons.answers.judges.probability import DEFAULT_THRESHOLDS, Thresholds
from hneurons.answers.judging import JUDGES
from hneurons.cli.app import app
from hneurons.core.artifacts import Manifest
from hneurons.core.errors import ArtifactError, InputError, OtherSettingsError
from hneurons.core.types import Judgement, Question
from hneurons.models.engine import LocalEngine
from hneurons.report.run_report import write_run_report
from hneurons.runs import earlier
from hneurons.runs.folder import PARTS, RunFolder
from hneurons.runs.plan import TRAIN, RunPlan
from hneurons.runs.run import Run
from support.planted import read_tree
from support.tiny_run import Said, chunk_small, judge_by_number, make_plan, plant_judge, run_all, write_questions

pytestmark = pytest.mark.slow


class StrictJudge(JUDGES.get("alias")):  # type: ignore[misc]
    """Calls an answer wrong that the planted judge calls right where it has an odd number of characters."""

    version = 1

    @staticmethod
    def judge(pairs: Any, endpoint: Any) -> list[Judgement]:
        found = []
        for question, response in pairs:
            verdict = judge_by_number(question, response.text).verdict
            wrong = verdict == "correct" and len(question.text) % 2
            found.append(Judgement(response.question_id, response.sample, "incorrect" if wrong else verdict))
        return found


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    plant_judge(monkeypatch)
    chunk_small(monkeypatch)
    monkeypatch.setitem(JUDGES._items, "strict", StrictJudge)


@pytest.fixture
def copy(place: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(place / "whole", tmp_path / "run"))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every sample that the model draws, by its id."""
    asked: list[str] = []
    prepare = LocalEngine.prepare

    def listen(self: LocalEngine, *arguments: Any) -> Any:
        answering = prepare(self, *arguments)
        draw = answering.draw

        def drawing(asks: Any, on_reply: Any) -> None:
            def count(ask: Any, reply: Any) -> Any:
                asked.append(f"{ask.question.id}#{ask.sample}")
                return on_reply(ask, reply)

            draw(asks, count)

        answering.draw = drawing  # type: ignore[method-assign]
        return answering

    monkeypatch.setattr(LocalEngine, "prepare", listen)
    return asked


def contents(folder: Path) -> dict[str, str]:
    """Content hashes of all stages of a run, those put aside left out."""
    found = {}
    for path in sorted(folder.rglob("manifest.json")):
        if "earlier" not in path.parts:
            found[str(path.parent.relative_to(folder))] = Manifest.load(path.parent).content
    return found


def answers(folder: Path) -> dict[str, Any]:
    """All responses and located examples, log-probabilities aside, whose last digits depend on who is drawn beside."""
    run = RunFolder(folder)
    found: dict[str, Any] = {}
    for name in run.datasets():
        found[f"{name} responses"] = [(r.id, r.token_ids, r.finish_reason) for r in run.load_responses(name)]
        found[f"{name} examples"] = [(e.id, e.verdict, e.token_span) for e in run.load_located(name)]
        found[f"{name} rows"] = [(r["id"], r["region"]) for r in run.load_contributions(name).rows]
    return found | {"neurons": run.load_detector().columns.tolist()}


def made_anew(records: list[logging.LogRecord]) -> set[str]:
    words = [
        record.getMessage().split(": ", 1)[-1].split(" ")[0] for record in records if "anew" in record.getMessage()
    ]
    return set(words)


@pytest.mark.parametrize(
    ("changed", "anew"),
    [
        ({"finder": "same"}, {"spans"}),  # it finds the same spans, so nothing else changes
        ({"other": "sequence"}, {"contributions", "the"}),
        ({"signal": "abs-z"}, {"contributions", "the"}),
        ({"measure_dtype": "bfloat16"}, {"contributions", "the"}),
        ({"judge": "strict"}, {"responses", "verdicts", "examples", "spans", "contributions", "the"}),
        ({"judge_threshold": 0.1}, {"verdicts"}),  # the planted judge has no threshold, so nothing else changes
        ({"test_per_class": 3}, {"responses", "verdicts", "examples", "spans", "contributions", "the"}),
    ],
)
def test_a_changed_setting_makes_anew_only_what_it_touches_and_says_so(
    place: Path, copy: Path, caplog: pytest.LogCaptureFixture, changed: dict[str, Any], anew: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from hneurons.answers.locating import FINDERS, ResponseFinder

    monkeypatch.setitem(FINDERS._items, "same", type("Other", (ResponseFinder,), {"version": 99}))
    if "test_per_class" in changed:
        monkeypatch.setattr(LocalEngine, "chunk", 10)  # enough of both classes are found before the last chunk
    run_all(Run(copy, make_plan(place, **changed)))
    assert made_anew(caplog.records) == anew
    RunFolder(copy).check_current()
    fresh = place / "whole"
    if len(anew) > 1:
        fresh = copy.parent / "fresh"
        run_all(Run(fresh, make_plan(place, **changed)), last="fit")
    assert answers(copy) == answers(fresh)


def test_another_judge_draws_only_the_samples_that_the_first_stopped_before(
    place: Path, copy: Path, drawn: list[str]
) -> None:
    before = {r.id: r for name in RunFolder(copy).datasets() for r in RunFolder(copy).load_responses(name)}
    plan = make_plan(place, judge="strict")
    run_all(Run(copy, plan))
    after = {r.id: r for name in RunFolder(copy).datasets() for r in RunFolder(copy).load_responses(name)}
    assert set(drawn) == set(after) - set(before) and drawn
    assert len(drawn) < len(after) / 2
    put_aside = RunFolder(copy).place(TRAIN, "earlier") / "1" / "responses" / "rows.jsonl"
    assert put_aside.read_bytes() == (place / "whole" / "train" / "responses" / "rows.jsonl").read_bytes()
    drawn.clear()
    run_all(Run(copy, make_plan(place)))
    assert not drawn
    assert contents(copy) == contents(place / "whole")


def test_another_threshold_labels_anew_draws_nothing_and_is_told(
    place: Path, copy: Path, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(question: Question, text: str, *, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> Said:
        said = judge_by_number(question, text)
        doubtful = said.verdict == "incorrect" and thresholds.incorrect < 0.1 and len(question.text) % 2
        return Said("unscored", "doubtful") if doubtful else said

    monkeypatch.setattr("hneurons.answers.judges.alias.judge_alias", judge)
    before = RunFolder(copy).manifests(TRAIN)["verdicts"].summary["verdicts"]
    done = CliRunner().invoke(app, ["label", str(copy), "--judge-threshold", "0.05"])
    assert done.exit_code == 0, done.exception
    run = RunFolder(copy)
    verdicts = run.manifests(TRAIN)["verdicts"]
    assert run.plan.judge_threshold == 0.05 and verdicts.settings["thresholds"] == [0.05, 0.9]
    assert verdicts.summary["verdicts"]["incorrect"] < before["incorrect"]
    assert run.judge_error() == describe_error("alias", Thresholds(0.05, 0.9)) != describe_error("alias")
    with pytest.raises(ArtifactError, match="made from other verdicts"):
        run.check_current()
    RunPlan.save(replace(run.plan, judge_threshold=None), copy)
    with pytest.raises(ArtifactError, match=r"made with judge threshold 0.05, and run.json says 0.17: run 'label'"):
        RunFolder(copy).check_current()
    run_all(Run(copy, make_plan(place, judge_threshold=0.05)))
    assert not drawn
    page = write_run_report(RunFolder(copy)).read_text()
    assert run.judge_error() in html.unescape(page)
    with pytest.raises(InputError, match="the judge 'llm' has no threshold: leave it out"):
        Run(copy, make_plan(place, judge="llm", judge_threshold=0.05))


def test_more_samples_and_more_questions_are_drawn_beside_those_that_are_there(
    place: Path, copy: Path, drawn: list[str]
) -> None:
    run = Run(copy, make_plan(place, n=5, min_agreement=3))
    run.sample()
    assert drawn and all(int(sample.split("#")[1]) >= 2 for sample in drawn)
    drawn.clear()
    write_questions(place / "more.jsonl", 100)
    more = make_plan(place, n=5, min_agreement=3, questions=f"file:{place / 'more.jsonl'}")
    Run(copy, more).sample()
    assert drawn and {sample.split("#")[0] for sample in drawn} <= {f"q{i}" for i in range(90, 100)}
    run_all(Run(copy, more), last="fit")
    run_all(Run(copy.parent / "fresh", more), last="fit")
    assert answers(copy) == answers(copy.parent / "fresh")


def test_a_question_of_the_same_id_with_other_words_is_asked_again(place: Path, copy: Path, drawn: list[str]) -> None:
    rows = [json.loads(line) for line in (place / "train.jsonl").read_text().splitlines()]
    rows[3]["question"] = "Who is this?"
    (copy.parent / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Run(copy, make_plan(place, questions=f"file:{copy.parent / 'other.jsonl'}")).sample()
    assert {sample.split("#")[0] for sample in drawn} == {"q3"}


@pytest.mark.parametrize("changed", [{"temperature": 0.5}, {"shots": 1}, {"dtype": "bfloat16"}, {"seed": 5}])
def test_settings_that_would_draw_other_answers_are_refused_unless_one_says_so(
    place: Path, copy: Path, drawn: list[str], changed: dict[str, Any]
) -> None:
    before = read_tree(copy)
    (name,) = changed
    with pytest.raises(ArtifactError, match=rf"responses drawn with other settings \({name} was .*--resample"):
        Run(copy, make_plan(place, **changed))
    assert read_tree(copy) == before
    run = Run(copy, make_plan(place, **changed), resample=True)
    run.sample()
    assert len(drawn) == sum(len(run.load_responses(dataset)) for dataset in run.datasets())
    assert (copy / "train" / "earlier" / "1" / "responses" / "rows.jsonl").is_file()


@pytest.mark.parametrize(
    "changed", [{"questions": "file:nowhere.jsonl"}, {"limit": 0}, {"tests": ("file:none.jsonl",)}]
)
def test_questions_that_are_refused_leave_the_run_as_it_was(place: Path, copy: Path, changed: dict[str, Any]) -> None:
    before = read_tree(copy)
    with pytest.raises(InputError):
        Run(copy, make_plan(place, **changed))
    assert read_tree(copy) == before


def test_a_change_that_was_interrupted_is_finished_and_nothing_is_lost(
    place: Path, copy: Path, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(place, judge="strict")
    run_all(Run(copy.parent / "fresh", plan), last="fit")
    expected = answers(copy.parent / "fresh")

    def killed(dataset: Path, part: str = "responses") -> Path:
        earlier.put_aside(dataset, part)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("hneurons.runs.run.put_aside", killed)
        Run(copy, plan).sample()
    drawn.clear()
    run_all(Run(copy), last="fit")
    assert answers(copy) == expected
    before = {r.id for r in RunFolder(place / "whole").load_responses(TRAIN)}
    assert not before & set(drawn)


def test_a_report_between_a_change_and_its_stages_is_refused(place: Path, copy: Path) -> None:
    run = Run(copy, make_plan(place, judge="strict"))
    with pytest.raises(ArtifactError, match=r"made with judge 'alias', and run\.json says 'strict': run 'label'"):
        write_run_report(RunFolder(copy))
    run.sample()
    run.label()
    with pytest.raises(ArtifactError, match="made from other verdicts than the run has now: run 'select'"):
        write_run_report(RunFolder(copy))
    for stage in ("select", "locate", "contributions"):
        getattr(run, stage)()
    with pytest.raises(ArtifactError, match="was fitted on other contributions: run 'fit'"):
        write_run_report(RunFolder(copy))


def test_a_detector_fitted_in_another_way_is_replaced_only_on_request(copy: Path) -> None:
    run = Run(copy)
    with pytest.raises(OtherSettingsError, match=r"C was null, now 2\.0.*give --replace"):
        run.fit(C=2.0)
    assert run.fit(C=2.0, replace=True).settings["C"] == 2.0
    assert Manifest.load(run.detector).settings["C"] == 2.0
    run.fit(C=1.0, out=copy / "second")
    with pytest.raises(OtherSettingsError, match="--replace"):
        run.fit(C=2.0, out=copy / "second")


def test_run_fits_anew_after_a_fit_of_other_settings_and_keeps_the_earlier_detector(copy: Path) -> None:
    run = Run(copy)
    whole = contents(copy)["detector"]
    run.fit(C=2.0, replace=True)
    assert Manifest.load(copy / "earlier" / "1" / "detector").content == whole
    run.fit(replace=True)
    assert Manifest.load(run.detector).content == whole
    assert Manifest.load(copy / "earlier" / "2" / "detector").settings["C"] == 2.0
    run.evaluate()


def test_a_fit_that_never_ended_is_made_anew_without_asking(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(copy)
    shutil.rmtree(run.detector)

    def fail(*arguments: Any, **words: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("hneurons.detection.fitting.Detector", fail)
        run.fit(labels="3-vs-1")
    assert list(run.detector.glob("*/manifest.json"))
    assert run.fit().settings["labels"] == "1-vs-1"


def test_responses_of_a_change_that_was_interrupted_are_kept_when_the_plan_changes_again(
    place: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(dataset: Path, part: str = "responses") -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("hneurons.runs.run.put_aside", killed)
        Run(copy, make_plan(place, temperature=0.5), resample=True).sample()
    drawn = (copy / "train" / "responses.next" / "rows.jsonl").read_bytes()
    Run(copy, make_plan(place, temperature=0.7), resample=True).sample()
    assert (copy / "train" / "earlier" / "1" / "responses" / "rows.jsonl").read_bytes() == drawn


def test_verdicts_of_an_earlier_judge_are_kept_and_taken_back(
    place: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (copy / "train" / "verdicts" / "rows.jsonl").read_bytes()
    monkeypatch.setattr("hneurons.runs.run.Run._sample", lambda self, name, questions: {})  # the same responses
    Run(copy, make_plan(place, judge="strict")).label()
    assert (copy / "train" / "earlier" / "1" / "verdicts" / "rows.jsonl").read_bytes() == before
    asked: list[str] = []
    alias = JUDGES.get("alias").judge

    def count(self: Any, pairs: Any, endpoint: Any) -> Any:
        asked.append("asked")
        return alias(pairs, endpoint)

    monkeypatch.setattr(JUDGES.get("alias"), "judge", count)
    Run(copy, make_plan(place)).label()
    assert (copy / "train" / "verdicts" / "rows.jsonl").read_bytes() == before and not asked
    assert (copy / "train" / "earlier" / "2" / "verdicts" / "rows.jsonl").is_file()


def test_a_run_needs_its_question_files_no_more_and_moves_with_its_folder(place: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    plan = make_plan(home)
    Run(home / "run", plan).sample()
    for name in ("train.jsonl", "test.jsonl.gz"):
        (home / name).unlink()
    shutil.move(home / "run", tmp_path / "moved")
    Run(tmp_path / "moved", plan).label()
    run_all(Run(tmp_path / "moved"))
    assert (tmp_path / "moved" / "evaluation" / "manifest.json").is_file()
    with pytest.raises(InputError, match="is no file"):
        Run(tmp_path / "moved", make_plan(home, limit=5)).sample()


def test_a_question_file_that_moved_is_the_same_and_one_that_changed_is_not(
    place: Path, copy: Path, tmp_path: Path, drawn: list[str]
) -> None:
    shutil.copy(place / "train.jsonl", tmp_path / "elsewhere.jsonl")
    plan = make_plan(place, questions=f"file:{tmp_path / 'elsewhere.jsonl'}")
    run_all(Run(copy, plan))
    assert not drawn and contents(copy) == contents(place / "whole")
    write_questions(tmp_path / "elsewhere.jsonl", 92)
    run = Run(copy, plan)
    run.sample()
    assert {sample.split("#")[0] for sample in drawn} <= {"q90", "q91"}
    assert sum(len(run.load_questions(name)) for name in (TRAIN, "held-out")) == 92


def test_a_run_of_an_earlier_version_goes_on_without_questions_of_its_own(place: Path, copy: Path) -> None:
    row = json.loads((copy / "run.json").read_text())
    for unknown in ("checksum", "measure_dtype", "signal"):
        del row[unknown]
    (copy / "run.json").write_text(json.dumps(row))
    for name in RunFolder(copy).datasets():
        shutil.rmtree(RunFolder(copy).place(name, "questions"))
    before = contents(copy)
    write_run_report(RunFolder(copy))
    run_all(Run(copy))
    found = contents(copy)
    assert {k: v for k, v in found.items() if not k.endswith("questions")} == before
    assert found == contents(place / "whole")


def test_the_folder_knows_its_datasets_and_finished_parts(copy: Path) -> None:
    folder = RunFolder(copy)
    assert folder.datasets() == [TRAIN, "held-out", "test"] == folder.testable()
    assert list(folder.manifests("test")) == [part for part in PARTS if part not in ("states", "opinions")]
    assert RunPlan(model="m", questions="a", tests=("a:x", "b", "a:y")).datasets() == [TRAIN, "a", "a-2", "b", "a-3"]
    assert {q.id for q in folder.load_questions(TRAIN)} >= {r.question_id for r in folder.load_responses(TRAIN)}
    assert len(folder.dataset("held-out").contributions.rows) > 0
    assert folder.load_detector().columns.dtype.kind == "i" and set(folder.load_evaluation()) == {"held-out", "test"}
