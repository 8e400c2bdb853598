"""What identifies answers: what they say, and not the last digit of their log-probabilities."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hneurons.answers.judging import label_responses
from hneurons.answers.locating import locate_answers
from hneurons.answers.selection import select_examples
from hneurons.core.artifacts import Manifest
from hneurons.core.seeds import fingerprint
from hneurons.core.types import Question, Response, identify
from hneurons.models.prompts import PromptStyle
from hneurons.neurons.contributions import measure_contributions
from support.planted import make_example, read_tree
from support.tiny_models import tiny_model

STAGES = ("verdicts", "examples", "spans", "contributions")


def test_an_identity_leaves_out_log_probabilities_alone() -> None:
    example = make_example(1, wrong=True)
    other = replace(example, response=replace(example.response, logprobs=(-9.0, -9.0, -9.0)))
    assert identify([example]) == identify([other])
    assert identify([example.response]) == identify([other.response])
    assert identify([example.question]) == fingerprint([example.question.to_row()])
    for changed in (replace(example.response, text="z"), replace(example.response, token_ids=(1, 2, 3))):
        assert identify([example.response]) != identify([changed])
        assert identify([example]) != identify([replace(example, response=changed)])


def run_stages(folder: Path, drift: float) -> None:
    """The stages after sampling, on answers whose log-probabilities are off by `drift`."""
    model = tiny_model("llama")
    questions = [Question(f"q{i}", f"What is the capital of {i}?", ("Paris",)) for i in range(6)]
    texts = ["Paris" if i % 2 else "Rome" for i in range(6)]
    encoded = [tuple(model.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    responses = [
        Response(q.id, 0, text, ids, tuple(-1.0 + drift for _ in ids))
        for q, text, ids in zip(questions, texts, encoded, strict=True)
    ]
    judged = label_responses(questions, responses, judge="alias", out=folder / "verdicts").judgements
    chosen = select_examples(questions, responses, judged, n=1, out=folder / "examples").examples
    located = locate_answers(chosen, tokenizer=model.tokenizer, finder="response", out=folder / "spans").examples
    measure_contributions(model, located, style=PromptStyle(), out=folder / "contributions")


def manifests(folder: Path) -> dict[str, str]:
    return {stage: Manifest.load(folder / stage).fingerprint for stage in STAGES}


def test_no_identity_downstream_depends_on_the_last_digit_of_a_log_probability(tmp_path: Path) -> None:
    run_stages(tmp_path / "a", 0.0)
    run_stages(tmp_path / "b", 1e-4)
    assert manifests(tmp_path / "a") == manifests(tmp_path / "b")
    for stage in ("verdicts", "contributions"):
        assert read_tree(tmp_path / "a" / stage) == read_tree(tmp_path / "b" / stage)
    before = read_tree(tmp_path / "a")
    run_stages(tmp_path / "a", 1e-4)
    assert read_tree(tmp_path / "a") == before, "finished stages are kept"


def test_stages_of_an_earlier_version_are_known_again_by_what_it_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def identify_as_before(values: Sequence[Response]) -> str:
        return fingerprint([value.to_row() for value in values])

    with monkeypatch.context() as patch:
        for room in ("answers.judging", "answers.selection", "answers.locating", "neurons.contributions"):
            patch.setattr(f"hneurons.{room}.identify", identify_as_before)
        run_stages(tmp_path, 0.0)
    before = read_tree(tmp_path)
    run_stages(tmp_path, 0.0)
    assert read_tree(tmp_path) == before
