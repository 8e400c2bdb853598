"""`hneurons score` on a finished run: one answer, a file, and everything that can be wrong with them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from hneurons.detection.detector import DETECTOR_JSON, Detector
from hneurons.runs.folder import RunFolder
from hneurons.runs.run import Run
from support.command_line import CLI, command_line
from support.tiny_run import make_plan, plant_judge

pytestmark = pytest.mark.slow  # the run takes some seconds


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("score")
    with pytest.MonkeyPatch.context() as patch:
        plant_judge(patch)
        patch.setenv("HNEURONS_CACHE", str(folder / "cache"))
        done = Run(folder / "run", make_plan(folder, tests=()))
        for stage in (done.sample, done.label, done.select, done.locate, done.contributions, done.fit, done.evaluate):
            stage()
        detector = done.load_detector()
        if not len(detector.columns):  # labels are random: an arbitrary neuron will do
            from dataclasses import replace

            import numpy as np

            one = np.ones(1)
            replace(detector, columns=np.array([3]), coef=one, scale=one, selection_probability=one).save(done.detector)
    return folder / "run"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CLI:
    return command_line(monkeypatch, capsys, "score")


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_answers_of_the_run_get_the_numbers_of_its_own_evaluation(run: Path, cli: CLI, tmp_path: Path) -> None:
    folder = RunFolder(run)
    (name,) = [dataset for dataset in folder.load_evaluation()]
    expected = {item[0]: item[2] for item in folder.load_evaluation()[name].items}
    examples = {example.id: example for example in folder.load_located(name)}
    rows = [
        {"id": key, "question": examples[key].question.text, "response": examples[key].response.text,
         "token_ids": examples[key].response.token_ids}
        for key in expected
    ]  # fmt: skip
    said = cli(run, "--file", write(tmp_path / "in.jsonl", *rows), "--out", tmp_path / "out", "--json")
    assert said.code == 0 and json.loads(said.out)["scored"] == len(rows) == json.loads(said.out)["answers"]
    found = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    size = abs(Detector.load(run / "detector").coef).sum()
    for row in found:
        assert row["log_odds"] == pytest.approx(expected[row["id"]], abs=1e-3 * max(1.0, size))


def test_one_answer_is_a_sentence_a_table_and_json(run: Path, cli: CLI) -> None:
    asked = (run, "--question", "Which river has number 7?", "--answer", "The Nile [bold]river[/x]")
    said = cli(*asked)
    assert said.code == 0 and "made up: risk 0." in said.out and "not calibrated" in said.out
    assert "encoded here" in said.out and "perplexity" in said.out
    row = json.loads(cli(*asked, "--json").out)
    assert 0 <= row["risk"] <= 1 and row["problem"] == "" and row["tokens"]


def test_csv_with_lists_as_text_a_context_and_a_conversation(run: Path, cli: CLI, tmp_path: Path) -> None:
    talk = json.dumps([{"role": "user", "content": "Which river?"}]).replace('"', '""')
    table = f'question,answer,context,messages\nWhich river?,The Nile,It is long.,\n,The Nile,,"{talk}"\n'
    (tmp_path / "in.csv").write_text(table, encoding="utf-8")
    said = cli(run, "--file", tmp_path / "in.csv", "--out", tmp_path / "out", "--json")
    assert said.code == 0 and json.loads(said.out)["scored"] == 2


def test_what_cannot_be_scored_is_counted_and_the_rest_is_scored(run: Path, cli: CLI, tmp_path: Path) -> None:
    rows = [{"question": "Which river?", "response": text} for text in ("The Nile", "", None, "word " * 9000)]
    said = cli(run, "--file", write(tmp_path / "in.jsonl", *rows), "--out", tmp_path / "out", "--json")
    summary = json.loads(said.out)
    assert said.code == 0 and summary["scored"] == 1 and summary["problems"]["the response is empty"] == 2
    last = json.loads((tmp_path / "out" / "rows.jsonl").read_text().splitlines()[-1])
    assert last["log_odds"] is None and "longer than the model's window" in last["problem"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "give --question and --answer, or --file"),
        (("--question", "Which?"), 2, "give --question and --answer"),
        (("--question", "Which?", "--answer", ""), 2, "no answer could be scored: the response is empty"),
        (("--question", "Which?", "--answer", "..."), 2, "no short answer was found"),
        (("--question", "Which?", "--answer", "x", "--file", "y"), 2, "--file and --question exclude each other"),
        (("--file", "{}/none.jsonl", "--out", "{}/o"), 2, "none.jsonl"),
        (("--file", "{}/empty.jsonl", "--out", "{}/o"), 2, "no rows"),
        (("--file", "{}/good.jsonl"), 2, "--file and --out go together"),
        (("--file", "{}/twice.jsonl", "--out", "{}/o"), 2, "stands for several answers"),
        (("--file", "{}/no_response.jsonl", "--out", "{}/o"), 2, "there is no field 'response'"),
        (("--file", "{}/number.jsonl", "--out", "{}/o"), 2, "should be text, found list"),
        (("--file", "{}/ids.jsonl", "--out", "{}/o"), 2, "'token_ids' must be whole numbers"),
        (("--file", "{}/roles.jsonl", "--out", "{}/o"), 2, "must end with the user's turn"),
        (("--file", "{}/reason.jsonl", "--out", "{}/o"), 2, "'finish_reason' should be one of"),
    ],
)
def test_bad_input_is_one_sentence(
    run: Path, cli: CLI, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    good = {"question": "Which river?", "response": "The Nile"}
    write(tmp_path / "good.jsonl", good)
    (tmp_path / "empty.jsonl").write_text("")
    write(tmp_path / "twice.jsonl", {**good, "id": "a"}, {**good, "id": "a"})
    write(tmp_path / "no_response.jsonl", {"question": "Which river?"})
    write(tmp_path / "number.jsonl", {**good, "response": ["The Nile"]})
    write(tmp_path / "ids.jsonl", {**good, "token_ids": [1, -2]})
    write(tmp_path / "roles.jsonl", {**good, "messages": [{"role": "assistant", "content": "Hm"}]})
    write(tmp_path / "reason.jsonl", {**good, "finish_reason": "tired"})
    found = cli(run, *(argument.replace("{}", str(tmp_path)) for argument in arguments))
    assert found.code == code and said in found.err and "Traceback" not in found.err, found.err
    assert said in found.err.strip().splitlines()[-1]


def test_other_answers_in_the_same_folder_are_refused_and_a_release_asks_for_its_model(
    run: Path, cli: CLI, tmp_path: Path
) -> None:
    answers = write(tmp_path / "in.jsonl", {"question": "Which river?", "response": "The Nile"})
    assert cli(run, "--file", answers, "--out", tmp_path / "out").code == 0
    write(answers, {"question": "Which river?", "response": "The Rhine"})
    said = cli(run, "--file", answers, "--out", tmp_path / "out")
    assert said.code == 1 and "choose another --out" in said.err
    Detector.load(run / "detector").save(tmp_path / "alone")
    assert (tmp_path / "alone" / DETECTOR_JSON).is_file()
    said = cli(tmp_path / "alone", "--question", "Which?", "--answer", "x")
    assert said.code == 2 and "add --model" in said.err
    model = RunFolder(run).plan.model
    row = json.loads(cli(tmp_path / "alone", "--question", "Which?", "--answer", "x", "--model", model, "--json").out)
    assert not math.isnan(row["log_odds"])
