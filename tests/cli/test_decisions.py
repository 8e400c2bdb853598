"""`hneurons calibrate` and `abstain` on a finished run: natural answers, a file, what `score` says, bad input."""

import json
import shutil
import textwrap
from pathlib import Path
from typing import Any, get_args

import pytest

from hneurons.detection.assessment import Action
from hneurons.detection.decisions.calibration import load_calibration
from hneurons.models.language_model import LanguageModel
from hneurons.runs.folder import RunFolder
from hneurons.runs.labelled import label_and_score
from hneurons.runs.run import Run
from support.command_line import CLI, command_line
from support.tiny_run import make_plan, plant_judge, write_questions

pytestmark = pytest.mark.slow  # the run takes some seconds


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decisions")
    with pytest.MonkeyPatch.context() as patch:
        plant_judge(patch)
        plan = make_plan(folder)
        write_questions(folder / "other.jsonl", 120, prefix="o")
        done = Run(folder / "run", make_plan(folder, tests=(f"file:{folder / 'other.jsonl'}",), model=plan.model))
        for stage in (done.sample, done.label, done.select, done.locate, done.contributions):
            stage()
        done.fit(C=2)
        done.evaluate()
        assert len(done.load_detector().columns)
    return folder / "run"


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A run of one's own."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CLI:
    return command_line(monkeypatch, capsys)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def labelled(n: int, wrong: int) -> list[dict[str, Any]]:
    return [{"question": f"What is {i} + {i}?", "response": f"It is {i * 3}", "correct": i >= wrong} for i in range(n)]


def test_a_run_is_calibrated_on_its_natural_answers_and_score_and_evaluate_say_so(run: Path, cli: CLI) -> None:
    folder = RunFolder(run)
    said = cli("calibrate", run, "--data", "other", "--json")
    assert said.code == 0, said.err
    row = json.loads(said.out)
    judged = [j.verdict for j in folder.load_judgements("other")]
    right, wrong = judged.count("correct"), judged.count("incorrect")
    located = folder.manifests("other")["spans"].summary["found"]
    lost = sum(row["left_out"].values())
    assert row["right"] + row["wrong"] + lost == len(folder.load_questions("other"))
    assert located["right"] <= row["right"] <= right and row["wrong"] <= wrong
    assert row["right"] + row["wrong"] > sum(located.values())  # nothing is balanced
    one = json.loads(cli("score", run, "--question", "Which river?", "--answer", "The Nile", "--json").out)
    calibration = load_calibration(folder.detector, folder.load_detector())
    assert calibration is not None
    assert one["probability"] == pytest.approx(float(calibration.calibrator.probability(one["log_odds"])), abs=1e-6)
    text = cli("score", run, "--question", "Which river?", "--answer", "The Nile").out.replace("\n", " ")
    assert "probability 0." in text and "answers of other" in text
    evaluated = json.loads(cli("evaluate", run, "--json").out)
    assert evaluated["other"]["calibrated"]["answers"] == 0 and evaluated["held-out"]["calibrated"]["answers"] > 0
    assert "calibrated on other" in cli("evaluate", run).out.replace("\n", " ")
    cli("report", run)
    page = (run / "report.html").read_text()
    assert "What a probability of this detector is worth" in page and "Reliability on other" in page


def test_log_odds_are_those_of_the_evaluation_and_are_not_computed_twice(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str, dtype: str) -> LanguageModel:
        from hneurons.models.language_model import load_model

        return load_model(name, dtype=dtype)  # type: ignore[arg-type]

    found = label_and_score(run, "other", load=load).scores
    folder = RunFolder(run)
    expected = {example: value for example, _, value in folder.load_evaluation()["other"].items}
    size = abs(folder.load_detector().coef).sum()
    own = {row.id: row.log_odds for row in found.rows}
    assert expected.keys() <= own.keys()
    assert all(own[k] == pytest.approx(v, abs=1e-3 * max(1, size)) for k, v in expected.items())
    assert label_and_score(run, "other", load=None).scores == found  # type: ignore[arg-type]


def test_a_file_of_labelled_answers_calibrates_a_detector_without_its_run(run: Path, cli: CLI, tmp_path: Path) -> None:
    shutil.copytree(run / "detector", tmp_path / "alone")
    file = write(tmp_path / "mine.jsonl", [*labelled(60, 20), {"question": "Why?", "response": "", "correct": True}])
    model = RunFolder(run).plan.model
    said = cli("calibrate", tmp_path / "alone", "--data", file, "--model", model, "--method", "beta", "--json")
    row = json.loads(said.out)
    assert (row["right"], row["wrong"], row["data"]) == (40, 20, "mine.jsonl")
    assert row["left_out"] == {"the response is empty": 1} and row["calibrator"]["method"] == "beta"


def test_abstention_is_decided_by_score_and_told_with_its_guarantee(run: Path, cli: CLI, tmp_path: Path) -> None:
    file = write(tmp_path / "mine.jsonl", labelled(90, 0))
    said = cli("abstain", run, "--data", file, "--json")
    assert said.code == 0, said.err
    row = json.loads(said.out)
    assert row["found"] and row["untouched"]["precision"]["value"] == 1 and row["curve"]["prr"]["value"] is None
    assert row["steps"][0]["answered"] == 22
    rows = [{"question": f"Which {i}?", "response": f"It is {i}"} for i in range(20)]
    scored = cli("score", run, "--file", write(tmp_path / "in.jsonl", rows), "--out", tmp_path / "out", "--json")
    summary = json.loads(scored.out)
    found = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert all((one["decision"] == "answer") == (one["log_odds"] < row["threshold"]) for one in found)
    assert summary["drift"]["answers"] == 20 and "mine.jsonl" in summary["drift"]["said"]
    assert sum(summary["decisions"].values()) == 20 and "of mine.jsonl" in summary["guarantee"]
    text = cli("abstain", run, "--data", file, "--target-precision", 0.8).out
    text = " ".join(text.split())
    assert "a precision of at least 0.8 at confidence 0.9" in text and "right answers withheld" in text
    cli("report", run)
    page = (run / "report.html").read_text()
    assert "Which answers may be given" in page and "Risk and coverage on mine.jsonl" in page


def test_weights_are_fitted_anew_into_a_detector_of_its_own(run: Path, cli: CLI, tmp_path: Path) -> None:
    rows = labelled(120, 50)
    file, model = write(tmp_path / "mine.jsonl", rows), RunFolder(run).plan.model
    before = (run / "detector" / "detector.json").read_bytes()
    said = cli("calibrate", run, "--data", file, "--refit", tmp_path / "new", "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["right"] + found["wrong"] + found["left_out"]["refitted on"] == 120
    asked = ("--question", rows[0]["question"], "--answer", rows[0]["response"], "--model", model, "--json")
    one = json.loads(cli("score", tmp_path / "new", *asked).out)
    other = json.loads(cli("score", run, *asked).out)
    assert 0 < one["probability"] < 1 and one["log_odds"] != other["log_odds"] and other["probability"] is None
    assert (run / "detector" / "detector.json").read_bytes() == before
    said = cli("calibrate", run, "--data", file, "--refit", tmp_path / "new")
    assert said.code == 2 and "is not empty" in said.err
    few = write(tmp_path / "few.jsonl", labelled(30, 12))
    said = cli("calibrate", run, "--data", few, "--refit", tmp_path / "newer")
    assert said.code == 1 and "each half of a refit" in said.err and not (tmp_path / "newer").exists()


def test_a_policy_gives_every_answer_an_action(run: Path, cli: CLI, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('otherwise = "ask a human"\n[[steps]]\nbelow = 0.5\naction = "retrieve"\n')
    rows = [{"question": f"Which {i}?", "response": f"It is {i}" if i else ""} for i in range(9)]
    file = write(tmp_path / "in.jsonl", rows)
    said = cli("score", run, "--file", file, "--policy", policy, "--out", tmp_path / "out")
    assert said.code == 2 and "run 'calibrate' first" in said.err
    assert cli("calibrate", run, "--data", "other").code == 0
    said = cli("score", run, "--file", file, "--policy", policy, "--out", tmp_path / "out", "--json")
    found = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    wanted = ["retrieve" if (row["probability"] or 1) < 0.5 else "ask a human" for row in found]
    assert [row["action"] for row in found] == wanted and sum(json.loads(said.out)["actions"].values()) == 9
    one = cli("score", run, "--question", "Which?", "--answer", "This", "--policy", policy)
    assert "action by the policy: " in one.out
    policy.write_text('otherwise = "ask a human"')
    said = cli("score", run, "--question", "Which?", "--answer", "This", "--policy", policy)
    assert said.code == 2 and "'steps' is missing" in said.err


def test_the_loop_of_the_docs_runs_as_it_stands(
    run: Path, cli: CLI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "deciding.md").read_text(encoding="utf-8")
    policy, loop = (
        textwrap.dedent(page.split(f"```{language}\n")[1].split("```")[0].rpartition("\n")[0])
        for language in ("toml", "python")
    )
    file = write(tmp_path / "labelled.jsonl", labelled(90, 20))
    assert cli("calibrate", run, "--data", file).code == 0 and cli("abstain", run, "--data", file).code == 0
    monkeypatch.chdir(tmp_path)
    run.rename("policies")
    Path("policy.toml").write_text(policy, encoding="utf-8")
    made: dict[str, Any] = {}
    exec(loop.replace('"MODEL"', repr(RunFolder(Path("policies")).plan.model)), made)
    found = made["handle"]("Which river?", "The Nile")
    assert found.action in get_args(Action) and found.reason


def test_that_no_threshold_exists_is_a_result(run: Path, cli: CLI) -> None:
    said = cli("abstain", run, "--data", "other")
    assert said.code == 0 and "No threshold exists" in said.out
    one = json.loads(cli("score", run, "--question", "Which river?", "--answer", "The Nile", "--json").out)
    assert one["decision"] == "abstain"
    cli("report", run)
    assert "No threshold exists" in (run / "report.html").read_text()


def test_labels_are_counted_before_there_are_any(cli: CLI) -> None:
    said = cli("abstain", "--expected-coverage", 0.5, "--expected-precision", 0.95)
    assert said.code == 0 and "needs 384 labelled answers" in said.out.replace("\n", " ")
    assert json.loads(cli("abstain", "--expected-coverage", 1, "--expected-precision", 1, "--json").out) == {
        "without_errors": 33, "expected": 33,
    }  # fmt: skip
    for arguments in ((), ("--expected-coverage", 0.5)):
        said = cli("abstain", *arguments)
        assert said.code == 2 and "to count the labels it needs" in said.err
    assert "expect more than the target" in cli("abstain", "--expected-coverage", 1, "--expected-precision", 0.9).err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--data", "{}/five.jsonl"), 1, "has 5 labelled answers, and a guarantee needs at least 10"),
        (("--data", "other", "--target-precision", "1"), 2, "--target-precision should lie between 0.000001 and"),
        (("--data", "other", "--confidence", "0"), 2, "--confidence should lie between 0.000001 and"),
        (("--data", "train"), 2, "was fitted on 'train'"),
        (("--data", "train", "--seed", "-1"), 2, "--seed"),
    ],
)
def test_bad_input_to_abstain_is_one_sentence(
    run: Path, cli: CLI, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    write(tmp_path / "five.jsonl", labelled(5, 2))
    found = cli("abstain", run, *(argument.replace("{}", str(tmp_path)) for argument in arguments))
    assert found.code == code and said in found.err and "Traceback" not in found.err, found.err


def test_a_release_takes_the_calibration_with_it_and_can_be_calibrated_anew(
    run: Path, cli: CLI, tmp_path: Path
) -> None:
    release, model = tmp_path / "release", RunFolder(run).plan.model
    assert cli("calibrate", run, "--data", "other").code == 0
    assert cli("publish", run, "--out", release).code == 0
    asked = ("score", release, "--question", "Which river?", "--answer", "The Nile", "--model", model)
    assert "answers of other" in cli(*asked).out.replace("\n", " ")
    file = write(tmp_path / "mine.jsonl", labelled(60, 20))
    assert cli("calibrate", release, "--data", file, "--model", model).code == 0
    assert "answers of mine.jsonl" in cli(*asked).out.replace("\n", " ")


def test_questions_that_were_trained_on_calibrate_nothing(run: Path, cli: CLI, tmp_path: Path) -> None:
    asked = RunFolder(run).load_questions("train")[0].text
    rows = [*labelled(60, 20), {"question": asked.upper(), "response": "x", "correct": True}]
    row = json.loads(cli("calibrate", run, "--data", write(tmp_path / "mine.jsonl", rows), "--json").out)
    assert row["left_out"] == {"trained on": 1}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--data", "train"), 2, "was fitted on 'train'"),
        (("--data", "nothing"), 2, "neither a file nor a test set of the run (held-out, other)"),
        (("--data", "{}/five.jsonl"), 1, "needs at least 10 right and 10 wrong answers"),
        (("--data", "{}/right.jsonl"), 1, "has 30 right and 0 wrong"),
        (("--data", "{}/unlabelled.jsonl"), 1, "no answer that is known to be right or wrong (30 unscored)"),
        (("--data", "{}/empty.jsonl"), 1, "no answer of 'empty.jsonl' could be scored: the response is empty"),
        (("--data", "{}/long.jsonl"), 1, "could be scored: prompt and response are longer than the model's window"),
        (("--data", "{}/bad.jsonl"), 2, "'correct' should be true or false"),
        (("--data", "other", "--method", "best"), 2, "known are shift, platt, beta, isotonic"),
        (("--data", "other", "--error-rate", "1"), 2, "should lie between 0 and 1"),
    ],
)
def test_bad_input_is_one_sentence(
    run: Path, cli: CLI, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    write(tmp_path / "five.jsonl", labelled(5, 2))
    write(tmp_path / "right.jsonl", labelled(30, 0))
    write(tmp_path / "unlabelled.jsonl", [{k: v for k, v in r.items() if k != "correct"} for r in labelled(30, 0)])
    write(tmp_path / "empty.jsonl", [{**r, "response": ""} for r in labelled(3, 1)])
    write(tmp_path / "long.jsonl", [{**r, "response": "word " * 3000} for r in labelled(1, 1)])
    write(tmp_path / "bad.jsonl", [{**r, "correct": "perhaps"} for r in labelled(3, 1)])
    found = cli("calibrate", run, *(argument.replace("{}", str(tmp_path)) for argument in arguments))
    assert found.code == code and said in found.err and "Traceback" not in found.err, found.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("calibrate", "--method", "best"), "known are shift, platt, beta, isotonic"),
        (("calibrate", "--error-rate", "1"), "--error-rate should lie between 0 and 1"),
        (("calibrate", "--refit", "{}"), "is not empty"),
        (("abstain", "--method", "best"), "known are order, fixed"),
        (("abstain", "--target-precision", "1"), "--target-precision should lie between"),
    ],
)
def test_flags_are_checked_before_any_answer_is_scored(
    run: Path, cli: CLI, arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("answers were scored")

    monkeypatch.setattr("hneurons.runs.labelled.label_and_score", fail)
    verb, *flags = (argument.replace("{}", str(run)) for argument in arguments)
    found = cli(verb, run, *flags)
    assert found.code == 2 and said in found.err and "Traceback" not in found.err, found.err


def test_another_detector_leaves_the_calibration_behind_and_says_so(run: Path, cli: CLI) -> None:
    assert cli("calibrate", run, "--data", "other").code == 0
    kept = (run / "detector" / "calibration.json").read_bytes()
    Run(run).fit(C=3, replace=True)
    (run / "detector" / "calibration.json").write_bytes(kept)
    said = cli("score", run, "--question", "Which river?", "--answer", "The Nile")
    assert said.code == 1 and "of another detector" in said.err and "run 'calibrate' again" in said.err
    assert cli("calibrate", run, "--data", "other").code == 0
    assert cli("score", run, "--question", "Which river?", "--answer", "The Nile").code == 0


def test_a_refit_is_given_no_threshold_by_the_half_that_fitted_it(run: Path, cli: CLI, tmp_path: Path) -> None:
    file, model = write(tmp_path / "mine.jsonl", labelled(120, 50)), RunFolder(run).plan.model
    made = json.loads(cli("calibrate", run, "--data", file, "--refit", tmp_path / "new", "--json").out)
    fitted = made["left_out"]["refitted on"]
    said = cli("abstain", tmp_path / "new", "--data", file, "--model", model, "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["left_out"] == {"trained on": fitted}
    renamed = [{**row, "question_id": f"{i}"} for i, row in enumerate(labelled(120, 50))]
    other = write(tmp_path / "renamed.jsonl", renamed)
    said = cli("calibrate", tmp_path / "new", "--data", other, "--model", model, "--json")
    assert json.loads(said.out)["left_out"] == {"trained on": fitted}


def test_a_bare_detector_leaves_out_what_it_was_fitted_on_and_an_old_one_says_it_does_not_know(
    run: Path, cli: CLI, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = RunFolder(run).plan.model
    asked = [question.text for question in RunFolder(run).load_questions("train")[:5]]
    rows = [*labelled(60, 20), *({"question": text, "response": "x", "correct": True} for text in asked)]
    file = write(tmp_path / "mine.jsonl", rows)
    alone = Path(shutil.copytree(run / "detector", tmp_path / "alone"))
    arguments = ("--data", file, "--model", model, "--json")
    said = cli("calibrate", alone, *arguments)
    assert json.loads(said.out)["left_out"] == {"trained on": 5}
    assert cli("publish", run, "--out", tmp_path / "release").code == 0
    said = cli("calibrate", tmp_path / "release", *arguments)
    assert json.loads(said.out)["left_out"] == {"trained on": 5}
    for folder in (alone, run / "detector"):
        (folder / "fitted_on.json").unlink()
    said = cli("calibrate", run / "detector", *arguments)  # its run lies around it
    assert json.loads(said.out)["left_out"] == {"trained on": 5}
    assert "not known" not in caplog.text
    said = cli("calibrate", alone, *arguments)
    assert json.loads(said.out)["left_out"] == {}
    assert "it is not known on which questions the detector was fitted" in caplog.text


def test_evaluate_leaves_out_the_answers_that_fitted_a_refit(
    run: Path, cli: CLI, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = {question.id: question.text for question in RunFolder(run).load_questions("other")}
    rows = [
        {"question": asked[judgement.id.rpartition("#")[0]], "response": "It is so", "correct": bool(i % 3 == 0)}
        for i, judgement in enumerate(RunFolder(run).load_judgements("other"))
        if judgement.id.endswith("#0")
    ]
    file = write(tmp_path / "mine.jsonl", rows)
    said = cli("calibrate", run, "--data", file, "--refit", tmp_path / "new", "--json")
    assert said.code == 0, said.err
    own = {name: row["right"] + row["wrong"] for name, row in json.loads(cli("evaluate", run, "--json").out).items()}
    said = cli("evaluate", run, "--detector", tmp_path / "new", "--out", tmp_path / "evaluation", "--json")
    assert said.code == 0, said.err
    tested = {name: row["right"] + row["wrong"] for name, row in json.loads(said.out).items()}
    assert tested["held-out"] == own["held-out"] and 0 < tested["other"] < own["other"]
    assert "'other': " in caplog.text and "that the detector was fitted on: left out" in caplog.text
