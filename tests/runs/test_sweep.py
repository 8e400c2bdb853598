"""A sweep's plan: what is refused before anything is loaded, and where its results go."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hneurons.cli.app import app
from hneurons.core.errors import InputError
from hneurons.neurons.opening import NeuronSource
from hneurons.runs.plan import RunPlan
from hneurons.runs.sweep import SweepPlan, find_places, read_alphas, read_scope, run_sweep


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"alphas": (0.0, 1e9)}, "alphas should lie between -1000 and 1000, found 0,1e.09"),
        ({"alphas": ()}, "alphas should lie"),
        ({"split": "heldout"}, "unknown split 'heldout': known are held_out, selection"),
        ({"when_risk": 1.5}, "a probability from 0 to 1, found 1.5"),
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"judge_threshold": 2}, "probabilities with incorrect below correct, found 2 and 0.9"),
        ({"controls": 1_000_000}, "--controls should be at most 1,000, found 1,000,000"),
        ({"control_kinds": ()}, "names no kind of random neurons"),
        ({"benchmarks": ("facts", "facts:other.jsonl")}, "named twice"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_before_anything_is_opened(changed: dict[str, Any], said: str) -> None:
    plan = SweepPlan(**{"benchmarks": ("facts",), "neurons": "/no/such/folder", **changed})
    with pytest.raises(InputError, match=said):
        run_sweep(plan)


def test_the_command_refuses_the_same(tmp_path: Path) -> None:
    for options, said in ((["--split", "heldout"], "unknown split"), (["--alpha", "0,1e9"], "between -1000 and 1000")):
        done = CliRunner().invoke(app, ["bench", "facts", "--neurons", str(tmp_path), *options])
        assert isinstance(done.exception, InputError) and said in str(done.exception)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"n": 10**9}, "-n should be at most 1,000, found 1,000,000,000"),
        ({"shots": 10**6}, "--shots should be at most 1,000, found 1,000,000"),
        ({"max_new_tokens": 10**7}, "--max-new-tokens should be at most 100,000, found 10,000,000"),
    ],
)
def test_absurd_counts_of_a_run_are_one_sentence(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        RunPlan(model="m", questions="facts", **changed).check()


def test_results_of_a_run_go_below_it_unless_another_folder_is_named(tmp_path: Path) -> None:
    RunPlan(model="m", questions="facts").save(tmp_path)
    own, plan = NeuronSource(tmp_path / "detector", tmp_path), SweepPlan(benchmarks=("facts",), neurons="r")
    assert find_places(own, plan) == ("m", tmp_path / "bench" / "all")
    risky = SweepPlan(benchmarks=("facts",), neurons="r", scope=8, when_risk=0.25, model="other")
    assert find_places(own, risky) == ("other", tmp_path / "bench" / "8-risk-0.25")
    with pytest.raises(InputError, match="is no run, so --model is needed"):
        find_places(NeuronSource(tmp_path, None), plan)


def test_alphas_and_scopes_are_read_as_they_are_written() -> None:
    assert read_alphas("0,0.5, 2") == (0, 0.5, 2)
    assert [read_scope(text) for text in ("all", "response", "12")] == ["all", "response", 12]
    for text in ("", "1,,2", "nan", "1;2"):
        with pytest.raises(InputError, match="numbers with commas"):
            read_alphas(text)
    for text in ("0", "-1", "²", "some"):
        with pytest.raises(InputError, match="--scope should be"):
            read_scope(text)
