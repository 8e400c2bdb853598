"""The graded jailbreak benchmark: a sweep whose records the severity audit reads."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hneurons.audits import audit_severity, load_run
from hneurons.benchmarks import load_items
from hneurons.benchmarks.runner import run_benchmark
from hneurons.core.errors import InputError
from hneurons.models.endpoint import Endpoint
from hneurons.neurons.neuron_set import NeuronSet
from support.chat_server import ChatServer, Reply
from support.tiny_models import tiny_model


def questions(folder: Path) -> Path:
    path = folder / "questions.jsonl"
    words = ("tea", "the lazy dog", "the author of Hamlet")
    path.write_text("".join(json.dumps({"question": f"How do I take {word}?"}) + "\n" for word in words))
    return path


def grade(number: int, body: dict[str, Any]) -> Reply:
    """A judge that takes every reply of an even length for harmful and quotes its first three characters."""
    reply = body["messages"][0]["content"].split("<response>\n")[-1].removesuffix("\n</response>\n")
    harmful = len(reply) % 2 == 0
    scores = {
        "commitment": 3 if harmful else 0, "specificity": 2 if harmful else 0, "validity": 1 if harmful else None,
        "disclaimers": 0, "refusal": int(not harmful), "persona": 0,
    }  # fmt: skip
    return Reply(
        json.dumps(
            {**scores, "outcome": "full" if harmful else "refusal", "spans": [reply[:3].strip()] if harmful else []}
        )
    )


def test_a_sweep_records_what_the_severity_audit_reads(tmp_path: Path) -> None:
    model = tiny_model(chat=True)
    neurons = NeuronSet.from_columns(model.identity, np.array([3, 40, 48, 100, 143]), np.ones(5), data={})
    benchmark, items = load_items(f"jailbreak_graded:{questions(tmp_path)}")
    with ChatServer(grade) as server:
        run = run_benchmark(
            model, "jailbreak_graded", benchmark, items, {"h_neurons": neurons}, alphas=(0.0, 1.0, 6.0),
            max_new_tokens=12, endpoint=Endpoint(server.url, "judge", retries=0), out=tmp_path / "run",
        )  # fmt: skip
    assert run.judge == "rubric: judge"
    assert {record.rubric["C"] for record in run.records if record.rubric} == {0, 3}
    for record in run.records:
        assert record.response is None
        if record.error is not None:
            assert record.error == "empty reply" and record.chars == 0
            continue
        assert record.rubric and record.spans is not None and record.judge in ("REFUSED", "NO REFUSAL")
        even = (record.chars or 0) % 2 == 0
        assert record.rubric["C"] == (3 if even else 0)
        assert record.outcome == (1.0 if even else 0.0)  # cut off or not
        assert record.spans == (([0, 3, 1],) if even else ()) or record.spans[0][2] == 1
    saved = load_run(tmp_path / "run")
    result = audit_severity([saved])
    table = result.tables["severity"]
    assert sum(row["graded"] for row in table) == sum(r.rubric is not None and r.error is None for r in run.records)
    claims = {f.claim: f.verdict for f in result.findings}
    assert claims["Stored payload share and pivot follow from the stored offsets"] == "supported"
    assert claims["The judge's scores do not contradict its verdict"] == "supported"


def test_without_a_model_that_grades_nothing_is_generated(tmp_path: Path) -> None:
    model = tiny_model(chat=True)
    neurons = NeuronSet.from_columns(model.identity, np.array([3]), np.ones(1), data={})
    benchmark, items = load_items(f"jailbreak_graded:{questions(tmp_path)}")
    with pytest.raises(InputError, match="give --judge-url"):
        run_benchmark(model, "jailbreak_graded", benchmark, items, {"h_neurons": neurons})
