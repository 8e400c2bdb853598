"""Our scores against lm-polygraph's numbers on the same answers and samples (`support/polygraph_oracle.py`)."""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from hneurons.answers.meanings import Meanings
from hneurons.core.types import Response
from hneurons.detection.answer_rows import AnswerRows, Floats
from hneurons.detection.scores import score_rows
from hneurons.models.choosing import top_candidates
from hneurons.sparse.matrix import ArrayMatrix
from support.planted import make_example
from support.polygraph_oracle import FIXTURE, make_inputs

STORED: dict[str, Any] = json.loads(FIXTURE.read_text(encoding="utf-8"))


def make_rows() -> AnswerRows:
    """The oracle's answers as a run would store them, and its planted meanings as a judge would say them."""
    examples, samples, table = [], [], {}
    for number, one in enumerate(STORED["answers"]):
        logits, tokens = torch.tensor(one["logits"]), tuple(one["tokens"])
        entropies = tuple(top_candidates(logits, 1).entropy.tolist())
        logprobs = tuple(logits.log_softmax(-1)[range(len(tokens)), list(tokens)].tolist())
        example = make_example(number, wrong=bool(number % 2), token_ids=tokens, token_span=(0, len(tokens)))
        response = replace(example.response, logprobs=logprobs, entropies=entropies)
        examples.append(replace(example, response=response))
        samples.append([Response(f"q{number}", s + 1, text, (1,), (-1.0,)) for s, text in enumerate(one["samples"])])
        said = list(zip(one["samples"], one["meanings"], strict=True))
        table[f"q{number}"] = {
            (a, b): "entailment" if m == n else "contradiction" for a, m in said for b, n in said if a != b
        }
    labels = np.array([e.hallucinated for e in examples])
    matrix = ArrayMatrix(np.zeros((len(examples), 1), np.float32))
    meanings = Meanings("planted", "both", table)  # type: ignore[arg-type]
    groups = [e.question.group for e in examples]
    return AnswerRows(examples, labels, groups, matrix, samples, meanings=meanings)


@cache
def ours() -> dict[str, Floats]:
    rows = make_rows()
    return {one.method: one.decided.values for one in score_rows(rows, rows)[0]}


@pytest.mark.parametrize("name", STORED["oracle"])
def test_a_score_is_that_of_lm_polygraph(name: str) -> None:
    expected = np.array(STORED["oracle"][name])
    assert len(expected) == 12 and expected.std() > 0.01
    np.testing.assert_allclose(ours()[name], expected, atol=1e-3)


def test_the_stored_answers_are_those_that_the_script_makes() -> None:
    for one, stored in zip(make_inputs(), STORED["answers"], strict=True):
        np.testing.assert_allclose(one["logits"], stored["logits"])
        assert all(one[name] == stored[name] for name in ("tokens", "samples", "meanings"))
    assert set(STORED["versions"]) == {"lm-polygraph", "rouge-score", "numpy"}
