"""The main job end to end on a tiny model: every stage, killed again and again, ends with the same bytes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hneurons.answers.questions import load_questions, question_key
from hneurons.answers.selection import load_examples
from hneurons.core.artifacts import Manifest
from hneurons.core.errors import ArtifactError, InputError, NotEnoughDataError
from hneurons.core.verification import verify_folder
from hneurons.detection.scores import load_scores
from hneurons.models.language_model import load_model
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.runs.folder import RunFolder
from hneurons.runs.plan import STAGES, TRAIN, RunPlan
from hneurons.runs.run import Run
from support.damage import check_json, survivors
from support.planted import read_tree
from support.tiny_run import chunk_small, make_plan, plant_judge, run_all, save_tiny_model, write_questions


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    plant_judge(monkeypatch)
    chunk_small(monkeypatch)


def files_of(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in read_tree(folder).items() if not name.endswith((".tmp", ".html"))}


def test_every_stage_leaves_a_complete_folder_for_every_dataset(place: Path) -> None:
    run = Run(place / "whole")
    assert list(run.questions) == [TRAIN, "held-out", "test"]
    for name in run.questions:
        for stage in ("responses", "verdicts", "examples", "spans", "contributions"):
            assert Manifest.load(run.place(name, stage)).complete
    for folder in ("detector", "evaluation"):
        assert Manifest.load(run.folder / folder).complete
    assert all(Manifest.load(run.place(name, "scores")).complete for name in ("held-out", "test"))
    assert run.scores()["held-out"] == load_scores(run.place("held-out", "scores"))
    results = run.evaluate()
    assert set(results) == {"held-out", "test"}
    assert all(result.right + result.wrong > 4 for result in results.values())


def test_no_question_is_trained_and_tested_on(place: Path) -> None:
    run = Run(place / "whole")
    sets = {name: {question_key(q.text) for q in questions} for name, questions in run.questions.items()}
    assert not sets[TRAIN] & sets["held-out"] and not sets[TRAIN] & sets["test"]
    asked = load_questions(run.plan.questions)
    assert len(sets[TRAIN]) + len(sets["held-out"]) == len(asked) == 90
    assert 0.2 < len(sets["held-out"]) / 90 < 0.5
    shots = {question_key(text) for text, _ in run.style.shots}
    assert len(shots) == 2 and not any(shots & keys for keys in sets.values())
    for name in run.questions:
        examples = load_examples(run.place(name, "spans"), stage="spans").examples
        assert {e.split for e in examples} == {"train" if name == TRAIN else "test"}
        assert {question_key(e.question.text) for e in examples} <= sets[name]


def test_no_fact_is_trained_on_in_one_wording_and_tested_in_the_other(tmp_path: Path) -> None:
    run = Run(tmp_path, RunPlan(model="none", questions="facts", tests=("facts",)))
    train, held_out, again = run.questions.values()
    assert len(train) + len(held_out) == len(load_questions("facts"))
    for tested in (held_out, again):
        assert not {q.group for q in train} & {q.group for q in tested}
    both = {q.fact for q in held_out if q.fact}
    assert all(sum(q.fact == fact for q in held_out) == 2 for fact in both) and len(both) > 150


@pytest.mark.slow
def test_the_same_plan_gives_the_same_bytes_and_finished_stages_are_not_repeated(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_all(Run(place / "again", make_plan(place)))
    expected = files_of(place / "whole")
    assert files_of(place / "again") == expected
    monkeypatch.setattr(Run, "model", property(lambda run: pytest.fail("nothing is left for the model to do")))
    shutil.rmtree(place / "again" / TRAIN / "spans")
    for stage in ("label", "select", "locate", "fit", "evaluate"):
        getattr(Run(place / "again"), stage)()
    assert files_of(place / "again") == expected
    assert NeuronSet.load(place / "again" / "detector").identity == load_model(make_plan(place).model).identity


def run_killed(work: Callable[[], None], kill_at: int) -> bool:
    """Run `work` in a forked process that kills itself (-9) before its `kill_at`-th sync or rename; whether it was."""
    child = os.fork()
    if child == 0:
        try:
            writes = 0

            def count(original: Callable[..., Any]) -> Callable[..., Any]:
                def counted(*args: Any) -> Any:
                    nonlocal writes
                    writes += 1
                    if writes == kill_at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return original(*args)

                return counted

            os.fsync, os.replace = count(os.fsync), count(os.replace)  # type: ignore[assignment]
            work()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    deadline = time.monotonic() + 120
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the forked run hangs")
        time.sleep(0.02)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the run failed otherwise than by being killed"
    return False


@pytest.mark.slow
def test_a_run_killed_again_and_again_in_every_stage_ends_with_the_same_bytes(place: Path) -> None:
    expected, plan, folder = files_of(place / "whole"), make_plan(place), place / "killed"
    # The first writes one by one, then anywhere: after sixteen a run has surely come one chunk further.
    kill_at = [1, 2, 3, 4, 5, *np.random.default_rng(0).integers(16, 28, size=200).tolist()]
    kills, stages = 0, set()
    while run_killed(lambda: run_all(Run(folder, plan)), kill_at[kills]):
        kills += 1
        reached = sorted(folder.rglob("manifest.json"), key=lambda p: p.stat().st_mtime_ns)
        if reached:
            stages.add(Manifest.load(reached[-1].parent).stage)
    assert kills > 12
    assert {"responses", "verdicts", "examples", "spans", "contributions"} <= stages
    assert files_of(folder) == expected
    for last in ("detector", "evaluation"):
        shutil.rmtree(folder / last)
        for writes in (3, 2, 4):
            assert run_killed(lambda: run_all(Run(folder, plan)), writes)
        assert not run_killed(lambda: run_all(Run(folder, plan)), 10_000)
        assert files_of(folder) == expected


@pytest.mark.parametrize("stage", STAGES[:-1])
def test_a_stage_before_its_turn_says_what_is_missing(place: Path, tmp_path: Path, stage: str) -> None:
    run = Run(tmp_path, make_plan(place))
    if stage == "sample":
        run.sample()
        return
    with pytest.raises((InputError, ArtifactError), match=r"no hneurons result|no neuron set|no detector"):
        getattr(run, stage)()


def test_a_changed_plan_is_refused_once_there_are_results_and_a_mistyped_one_can_be_mended(
    place: Path, tmp_path: Path
) -> None:
    Run(tmp_path, make_plan(place, temperature=0.5))
    Run(tmp_path, make_plan(place))
    assert replace(Run(tmp_path).plan, names=()) == make_plan(place, dtype="float32")
    before = files_of(place / "whole")
    with pytest.raises(ArtifactError, match=r"temperature was 1.0, now 0.5; top_k was 50, now 5"):
        Run(place / "whole", make_plan(place, temperature=0.5, top_k=5))
    assert files_of(place / "whole") == before


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"judge": "oracle"}, "unknown judge 'oracle': known are alias, llm"),
        ({"finder": "oracle"}, "unknown finder 'oracle'"),
        ({"other": "prompt"}, "unknown other region 'prompt'"),
        ({"questions": "nonsense"}, "unknown question set 'nonsense'"),
        ({"tests": ("nonsense:a.jsonl",)}, "unknown question set 'nonsense'"),
        ({"top_p": 2.0}, "sampling needs"),
    ],
)
def test_an_unknown_name_is_refused_before_anything_is_written(
    place: Path, tmp_path: Path, changed: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        Run(tmp_path / "new", make_plan(place, **changed))
    assert not (tmp_path / "new").exists()


def test_a_judge_that_needs_an_endpoint_is_asked_for_before_sampling(place: Path, tmp_path: Path) -> None:
    Run(tmp_path / "a", make_plan(place)).demand_endpoint()
    for changed in ({"judge": "llm"}, {"finder": "llm"}):
        with pytest.raises(InputError, match="needs an endpoint: give --judge-url"):
            Run(tmp_path / "b", make_plan(place, **changed)).demand_endpoint()


def test_a_test_set_that_holds_only_questions_trained_on_is_refused_before_sampling(place: Path) -> None:
    few = write_questions(place / "few.jsonl", 90)
    train = Run(place / "whole").questions[TRAIN]
    few.write_text("".join(json.dumps({"question": q.text, "answers": ["a"]}) + "\n" for q in train[:5]))
    run = Run(place / "few", make_plan(place, tests=(f"file:{few}",)))
    with pytest.raises(NotEnoughDataError, match="no question is left for 'few'"):
        run.sample()


@pytest.mark.slow
def test_a_chat_model_runs_too(tmp_path: Path) -> None:
    from support.tiny_run import save_tiny_model

    plan = make_plan(tmp_path, tests=())
    save_tiny_model(tmp_path / "chat", "gemma3", chat=True)
    run_all(Run(tmp_path / "run", make_plan(tmp_path, tests=(), model=str(tmp_path / "chat"))))
    assert plan.tests == ()
    prompt = Run(tmp_path / "run").model.encode("Who?", Run(tmp_path / "run").style)
    assert "answer:" in Run(tmp_path / "run").model.tokenizer.decode(prompt)
    assert Manifest.load(tmp_path / "run" / "evaluation").complete


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": 1}', '{"tests": []}'])
def test_a_damaged_plan_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"run.json is damaged"):
        Run(tmp_path)
    with pytest.raises(InputError, match="is no run"):
        Run(tmp_path / "none")


# Tries to get into the folder once for each line it is given.
_OTHER = """
import sys
from pathlib import Path
from hneurons.core.errors import HNeuronsError
from hneurons.runs.plan import RunPlan
from hneurons.runs.run import Run
for line in sys.stdin:
    try:
        Run(Path(sys.argv[1]), RunPlan(model="x", questions="facts", seed=7))
        print("is in", flush=True)
    except HNeuronsError as error:
        print(error, flush=True)
"""


@pytest.mark.slow
def test_two_runs_with_other_seeds_do_not_get_into_one_folder(place: Path, tmp_path: Path) -> None:
    """The second is refused while the first is at it, though nothing but its plan is written yet."""
    command = [sys.executable, "-c", _OTHER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None
        first = Run(tmp_path, make_plan(place, seed=0))
        print("try", file=other.stdin, flush=True)
        assert "another process is writing" in other.stdout.readline()
        assert RunPlan.load(tmp_path).seed == first.plan.seed == 0
        del first
        print("try", file=other.stdin, flush=True)
        assert other.stdout.readline() == "is in\n" and RunPlan.load(tmp_path).seed == 7
        other.stdin.close()


@pytest.mark.slow
def test_one_flipped_bit_in_the_plan_is_refused_and_a_plan_without_checksum_opens(place: Path, tmp_path: Path) -> None:
    plan = make_plan(place)
    plan.save(tmp_path)
    assert survivors(tmp_path, lambda: RunPlan.load(tmp_path), names=["run.json"], count=800) == []
    (tmp_path / "run.json").write_text(json.dumps({k: v for k, v in plan.to_row().items() if k != "signal"}))
    assert replace(RunPlan.load(tmp_path), names=()) == plan


def test_every_json_file_of_a_run_is_json_and_verify_finds_all_of_it_whole(place: Path) -> None:
    assert check_json(place / "whole") > 20
    checks = verify_folder(place / "whole")
    assert {check.state for check in checks} == {"whole"} and len(checks) > 40


def test_answers_of_a_run_as_a_data_frame_have_the_log_odds_of_the_evaluation(place: Path) -> None:
    run = RunFolder(place / "whole")
    for name, result in run.load_evaluation().items():
        frame = run.to_pandas(name)
        assert frame.index.tolist() == [example.id for example in run.load_located(name)]
        assert frame["log_odds"].dropna().to_dict() == {example: odds for example, _, odds in result.items}
        assert frame["log_odds"].isna().sum() == result.not_located
    assert "log_odds" not in run.to_pandas("train")


def test_a_model_folder_that_moved_is_known_by_its_weights(place: Path, tmp_path: Path) -> None:
    plan = replace(make_plan(place), model=str(shutil.copytree(place / "model", tmp_path / "a" / "model")))
    Run(tmp_path / "run", plan).sample()
    before = files_of(tmp_path / "run" / "train" / "responses")
    (tmp_path / "b").mkdir()
    moved = str(shutil.move(tmp_path / "a" / "model", tmp_path / "b" / "model"))
    Run(tmp_path / "run", replace(plan, model=moved)).sample()
    assert files_of(tmp_path / "run" / "train" / "responses") == before, "nothing is drawn again"
    other = save_tiny_model(tmp_path / "c" / "model", "qwen2")
    for wrong in (str(other), "owner/model"):
        with pytest.raises(ArtifactError, match=r"model was .*, now "):
            Run(tmp_path / "run", replace(plan, model=wrong))
    with pytest.raises(ArtifactError, match="seed was 0, now 1"):
        Run(tmp_path / "run", replace(plan, model=str(shutil.move(moved, tmp_path / "model")), seed=1))
