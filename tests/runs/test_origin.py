"""Origin of a run's neurons end to end on a tiny pair: stages, files, tables, the page, and what is refused."""

import json
import shutil
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch
from typer.testing import CliRunner

from hneurons.answers.questions import load_questions, question_key
from hneurons.answers.selection import load_examples
from hneurons.cli.app import app
from hneurons.core.artifacts import Manifest
from hneurons.core.errors import ArtifactError, InputError, SchemaError
from hneurons.core.verification import verify_folder
from hneurons.detection.transfer import DETECTOR, RANDOM_KINDS
from hneurons.mechanism.weight_drift import measure_drift
from hneurons.models.language_model import load_model
from hneurons.report.origin_report import describe_origin, draw_ranks, judge_drift
from hneurons.report.run_report import write_run_report
from hneurons.runs.folder import RunFolder
from hneurons.runs.origin import BaseRun, load_origin, measure_origin
from hneurons.runs.plan import TRAIN
from hneurons.runs.run import Run
from support.damage import check_json, survivors
from support.places import ROOT
from support.planted import read_tree
from support.tiny_models import tiny_tokenizer, tiny_transformer
from support.tiny_run import chunk_small, plant_judge

pytestmark = pytest.mark.slow  # a whole run is made first

EXAMPLES = ROOT / "examples"


def save_base(folder: Path, *, seed: int = 0, strength: float = 0.05, chat: bool = False) -> Path:
    """The tiny run's model before tuning: its weights, each moved a little."""
    model = tiny_transformer("llama")
    rng = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += strength * parameter.std() * torch.randn(parameter.shape, generator=rng)
    model.generation_config.eos_token_id = list(range(1, 60))
    model.save_pretrained(folder)
    tiny_tokenizer(chat=chat).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def place(place: Path) -> Path:
    """`traced`, a finished run with its origin, and the base model beside it."""
    with pytest.MonkeyPatch.context() as patch:
        plant_judge(patch)
        chunk_small(patch)
        shutil.copytree(place / "whole", place / "traced")
        save_base(place / "base", chat=True)
        measure_origin(Run(place / "traced"), str(place / "base"), draws=3)
    return place


@pytest.fixture(autouse=True)
def planted_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    plant_judge(monkeypatch)
    chunk_small(monkeypatch)


def test_the_base_model_answers_the_runs_test_questions_in_base_format(place: Path) -> None:
    run = Run(place / "traced")
    job = BaseRun(run, str(place / "base"))
    assert set(job.questions) == set(run.questions) - {TRAIN}
    assert job.style.chat is False and job.style.shots == run.style.shots
    for name, asked in job.questions.items():
        settings = Manifest.load(job.place(name, "responses")).settings
        assert settings["n"] == 1 and settings["style"]["chat"] is False
        keys = {question_key(q.text) for q in asked}
        examples = load_examples(job.place(name, "spans"), stage="spans").examples
        assert examples and {question_key(e.question.text) for e in examples} <= keys
        assert all("\n" not in e.response.text.strip() for e in examples)


def test_all_results_are_in_one_file_and_read_again(place: Path) -> None:
    found = load_origin(place / "traced" / "origin")
    assert found is not None and found == measure_origin(Run(place / "traced"), str(place / "base"), draws=3)
    assert set(found.transfer) == {"held-out", "test"}
    for result in found.transfer.values():
        assert result.methods[0].method == DETECTOR and result.on_tuned
    assert found.ranks is not None and not found.ranks.equal
    assert len(found.ranks.score.comparisons) == 4
    assert 0 < found.distances["up"]["median"] < 0.05
    path = place / "traced" / "origin" / "origin.json"
    kept = path.read_bytes()
    path.write_text("{}")
    with pytest.raises(ArtifactError, match="run the command that made it again"):
        load_origin(path.parent)
    path.write_bytes(kept)
    assert load_origin(place / "whole" / "origin") is None


def test_all_that_origin_writes_is_json_whole_and_guarded(place: Path) -> None:
    folder = place / "traced" / "origin"
    assert check_json(folder) > 10
    assert {check.state for check in verify_folder(folder)} == {"whole"}
    assert survivors(folder, lambda: load_origin(folder), names=["origin.json", "manifest.json"], count=60) == []


def test_the_same_again_in_another_folder_gives_the_same_bytes(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "whole", tmp_path / "run")
    measure_origin(Run(tmp_path / "run"), str(place / "base"), tuned=str(place / "model"), draws=3)
    assert read_tree(tmp_path / "run" / "origin") == read_tree(place / "traced" / "origin")


def test_the_command_prints_tables_and_json_and_refreshes_the_page(place: Path) -> None:
    arguments = ["origin", str(place / "traced"), "--base", str(place / "base"), "--draws", "3"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    words = " ".join(shown.output.split())
    for said in ("random neurons of the same layers", "mean rank", "changed", "report:"):
        assert said in words
    row = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert set(row["transfer"]) == {"held-out", "test"} and row["ranks"]["population"] == 3 * 48
    page = (place / "traced" / "report.html").read_text(encoding="utf-8")
    assert 'id="origin"' in page and "Were the neurons there before tuning?" in page and "<svg" in page
    assert 'id="origin"' not in write_run_report(RunFolder(place / "whole")).read_text(encoding="utf-8")


def test_results_of_another_detector_are_not_shown(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "traced", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "detector")
    shutil.rmtree(tmp_path / "run" / "evaluation")
    run = Run(tmp_path / "run")
    run.fit(C=2.0)
    shown = describe_origin(run.folder)
    assert shown == {"stale": True, "base": str(place / "base")}
    run.evaluate()
    assert "belong to another detector" in write_run_report(run).read_text(encoding="utf-8")


def test_equal_checkpoints_have_no_ranks_and_the_page_says_so(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "whole", tmp_path / "run")
    found = measure_origin(Run(tmp_path / "run"), str(place / "model"), draws=2)
    assert found.ranks is not None and found.ranks.equal
    assert judge_drift(found)[0].startswith("No drift: the feed-forward weights of the two checkpoints are equal")
    assert draw_ranks(found.ranks) == ""
    assert "No drift" in write_run_report(RunFolder(tmp_path / "run")).read_text(encoding="utf-8")


def test_other_bases_and_other_tuned_models_are_refused_before_anything_is_written(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "whole", tmp_path / "run")
    run = Run(tmp_path / "run")
    tiny_transformer("qwen2").save_pretrained(tmp_path / "family")
    larger = tiny_tokenizer()
    larger.add_tokens(["<new>"])
    save_base(tmp_path / "vocabulary")
    larger.save_pretrained(tmp_path / "vocabulary")
    save_base(tmp_path / "retuned", seed=1)
    for base, tuned, said in (
        (tmp_path / "family", None, "architecture: qwen2 against llama"),
        (tmp_path / "vocabulary", None, r"tokenizer: \d+ tokens against \d+"),
        (place / "base", tmp_path / "retuned", "is not the model of this run"),
        (tmp_path / "nothing", None, "unknown model"),
    ):
        with pytest.raises(InputError, match=said):
            measure_origin(run, str(base), tuned=None if tuned is None else str(tuned))
        assert not (run.folder / "origin").exists()


def test_other_draws_and_moved_checkpoints_are_measured_again(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "traced", tmp_path / "run")
    first = load_origin(tmp_path / "run" / "origin")
    found = measure_origin(Run(tmp_path / "run"), str(place / "base"), tuned=str(place / "model"), draws=2)
    assert first is not None and found.ranks == first.ranks
    assert all(m.sets == 2 for r in found.transfer.values() for m in r.methods if m.method in RANDOM_KINDS)
    manifest = Manifest.load(tmp_path / "run" / "origin" / "drift")
    manifest.settings["base"] = "another"
    manifest.save(tmp_path / "run" / "origin" / "drift")
    assert measure_origin(Run(tmp_path / "run"), str(place / "base"), draws=2) == found
    assert load_origin(tmp_path / "run" / "origin") == found


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return import_module("tune_pair")


def test_the_example_trains_on_nothing_that_a_run_asks(example: ModuleType) -> None:
    rows = example.default_rows(facts=150, invented=20, asked=1600, avoid=[])
    known = load_questions("facts")
    asked = {question_key(q.text) for q in known[:1600]}
    facts = {q.group for q in known[:1600]}
    by_key = {question_key(q.text): q for q in known}
    keys = [question_key(text) for text, _ in rows]
    assert len(rows) == len(set(keys)) == 170 and not asked & set(keys)
    assert not facts & {by_key[key].group for key in keys if key in by_key}
    assert sum(answer == "I don't know." for _, answer in rows) == 20


def test_the_example_moves_every_projection_and_only_learns_responses(
    example: ModuleType, place: Path, tmp_path: Path
) -> None:
    model = load_model(str(place / "model"), device="cpu")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "Capital of France?", "response": "Paris"}\n' * 4)
    rows = example.read_rows(tmp_path / "rows.jsonl")
    encoded = example.encode_row(model, rows[0])
    assert model.tokenizer.decode(encoded.ids[encoded.answer :]) == "Paris</s>"
    losses = example.tune(model, rows, epochs=4, batch_size=2, rate=1e-3, seed=0)
    assert len(losses) == 8 and losses[-1] < losses[0]
    model.model.save_pretrained(tmp_path / "tuned")
    drift = measure_drift(str(place / "model"), str(tmp_path / "tuned"))
    assert drift.gate is not None and min(v.max(axis=1).min() for v in (drift.up, drift.down, drift.gate)) > 0
    (tmp_path / "rows.jsonl").write_text('{"prompt": "no response"}\n')
    with pytest.raises(SchemaError, match="line 1"):
        example.read_rows(tmp_path / "rows.jsonl")
