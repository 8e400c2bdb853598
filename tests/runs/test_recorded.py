"""A run on answers that were recorded elsewhere: nothing is drawn, and the rest is as in any run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hneurons.models.engine import LocalEngine
from hneurons.runs.folder import RunFolder
from hneurons.runs.plan import TRAIN, RunPlan
from hneurons.runs.run import Run
from support.command_line import CLI, command_line
from support.tiny_run import make_plan, plan_arguments, plant_judge, run_all


@pytest.fixture(scope="module")
def place(place: Path) -> Path:
    """Model, question files, and `drawn`, a run with one sample a question."""
    with pytest.MonkeyPatch.context() as patch:
        plant_judge(patch)
        run_all(Run(place / "drawn", plan_of(place)))
    return place


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CLI:
    return command_line(monkeypatch, capsys)


def plan_of(folder: Path, **changes: Any) -> RunPlan:
    return make_plan(folder, **{"n": 1, "min_agreement": 1, "tests": (), **changes})


def rows_of(run: RunFolder, *, verdicts: bool = True, tokens: bool = True) -> list[dict[str, Any]]:
    """All answers of a run, as somebody might have recorded them."""
    rows = []
    for name in run.datasets():
        said = {judgement.id: judgement.verdict for judgement in run.load_judgements(name)}
        asked = {question.id: question for question in run.load_questions(name)}
        for response in run.load_responses(name):
            question = asked[response.question_id]
            row = {"question_id": question.id, "question": question.text, "relation": question.relation,
                   "answers": question.answers, "response": response.text}  # fmt: skip
            row |= {"verdict": said[response.id]} if verdicts else {}
            row |= {"token_ids": response.token_ids, "logprobs": response.logprobs} if tokens else {}
            rows.append({**row, "finish_reason": response.finish_reason})
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.slow
def test_the_recorded_answers_of_a_run_give_its_own_numbers_and_no_model_draws(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = RunFolder(place / "drawn")
    file = write(tmp_path / "answers.jsonl", rows_of(drawn))
    monkeypatch.setattr(LocalEngine, "prepare", None)
    monkeypatch.setattr("hneurons.answers.judges.alias.judge_alias", None)  # the verdicts came with the answers
    run_all(Run(tmp_path / "run", plan_of(place, questions=f"recorded:{file}")))
    found = RunFolder(tmp_path / "run")
    for ours, theirs in zip(drawn.datasets(), found.datasets(), strict=True):
        examples, again = drawn.load_located(ours), found.load_located(theirs)
        assert [e.token_span for e in examples] == [e.token_span for e in again]
        one, other = drawn.load_contributions(ours), found.load_contributions(theirs)
        assert [row["id"] for row in one.rows] == [row["id"] for row in other.rows]
        columns = np.arange(one.shape[0] * one.shape[1])
        assert (one.matrix().gather(columns, 1 << 30) == other.matrix().gather(columns, 1 << 30)).all()
    assert found.load_detector().coef.tolist() == drawn.load_detector().coef.tolist()
    areas = [next(iter(run.load_evaluation().values())).detector.auroc for run in (drawn, found)]
    assert areas[0] == areas[1]
    assert "all" not in found.judge_error() and "came with the answers" in found.judge_error()
    file.unlink()  # a run keeps its answers
    run_all(Run(tmp_path / "run", plan_of(place, questions=f"recorded:{file}")))


@pytest.mark.slow
def test_text_alone_is_judged_and_encoded_here(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant_judge(monkeypatch)
    drawn = RunFolder(place / "drawn")
    rows = rows_of(drawn, verdicts=False, tokens=False)
    run_all(Run(tmp_path / "run", plan_of(place, questions=f"recorded:{write(tmp_path / 'answers.jsonl', rows)}")))
    found = RunFolder(tmp_path / "run")
    assert found.load_judgements(TRAIN) == drawn.load_judgements(TRAIN)
    assert found.manifests(TRAIN)["spans"].summary["encoded_here"] > 0


@pytest.mark.slow
def test_answers_that_cannot_be_read_back_are_named_and_the_run_goes_on(place: Path, tmp_path: Path, cli: CLI) -> None:
    rows = rows_of(RunFolder(place / "drawn"))
    said = {e.question.id for e in RunFolder(place / "drawn").load_located(TRAIN) if e.token_span}
    spoilt = [row for row in rows if row["question_id"] in said][:3]
    spoilt[0]["token_ids"] = [70, 71, 72]
    spoilt[0].pop("logprobs")
    spoilt[1] |= {"response": "word " * 900, "token_ids": [], "logprobs": []}
    spoilt[2] |= {"response": "half \ud800", "token_ids": [], "logprobs": []}
    arguments = plan_arguments(plan_of(place))
    del arguments[2:4]  # --questions
    command = ("run", *arguments, "--responses", write(tmp_path / "answers.jsonl", rows), "--out", tmp_path / "run")
    done = cli(*command)
    assert done.code == 0, done.err
    run = RunFolder(tmp_path / "run")
    spans, measured = run.manifests(TRAIN)["spans"].summary, run.manifests(TRAIN)["contributions"].summary
    assert spans["other_tokens"] == {"responses": 1, "first": [f"{spoilt[0]['question_id']}#0"]}
    assert spans["not_encoded"] == 1
    assert measured["too_long"] == {"examples": 1, "first": [f"{spoilt[1]['question_id']}#0"]}
    page = (tmp_path / "run" / "report.html").read_text()
    assert "recorded, not drawn here" in page and "token ids say something else" in page and "taken on trust" in page


@pytest.mark.slow
def test_all_recorded_answers_to_a_question_must_agree(place: Path, tmp_path: Path) -> None:
    rows = rows_of(RunFolder(place / "drawn"))
    first = next(e for e in RunFolder(place / "drawn").load_selected(TRAIN))
    other = next(row for row in rows if row["question_id"] == first.question.id)
    swapped = "incorrect" if other["verdict"] == "correct" else "correct"
    file = write(tmp_path / "answers.jsonl", [*rows, {**other, "verdict": swapped}])
    run = Run(tmp_path / "run", plan_of(place, questions=f"recorded:{file}", min_agreement=None, n=10))
    run_all(run, last="select")
    assert first.question.id not in {e.question.id for e in run.load_selected(TRAIN)}
    assert run.manifests(TRAIN)["examples"].summary["dropped"]["inconsistent"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give --questions NAME to ask the model, or --responses FILE"),
        (("--questions", "facts", "--responses", "x.jsonl"), "exclude each other"),
        (("--responses", "nothing.jsonl"), "nothing.jsonl"),
        (("--responses", "{}/five.jsonl"), "ask more or easier questions"),
        (("--responses", "{}/one_class.jsonl"), "ask more or easier questions"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, cli: CLI, arguments: tuple[str, ...], said: str) -> None:
    plan = plan_of(tmp_path)
    rows = [{"question": f"Which {word} river?", "response": "Nile", "correct": False} for word in "abcdefghij"]
    write(tmp_path / "one_class.jsonl", rows)
    write(tmp_path / "five.jsonl", rows[:5])
    options = [argument.replace("{}", str(tmp_path)) for argument in arguments]
    found = cli("run", "--model", plan.model, *options, "--out", tmp_path / "run")
    assert found.code in (1, 2) and said in found.err and "Traceback" not in found.err, found.err
