"""A whole run in small: a tiny model and question file on disk, and a judge that decides what is right."""

import gzip
import json
import zlib
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hneurons.core.types import Question, Verdict
from hneurons.detection.rivals.compare import compare_rivals
from hneurons.models.engine import LocalEngine
from hneurons.neurons import contributions
from hneurons.runs.plan import STAGES, RunPlan
from hneurons.runs.run import Run
from support.tiny_models import tiny_tokenizer, tiny_transformer


class Said(NamedTuple):
    verdict: Verdict
    reason: str


def judge_by_number(question: Question, text: str, *, thresholds: object = None) -> Said:
    """Random models are never right; this judge calls half the questions' answers right, whatever they say."""
    if not text.strip():
        return Said("unscored", "empty reply")
    if not question.answerable:
        return Said("abstained" if len(text) % 3 == 0 else "incorrect", "")
    return Said("correct" if zlib.crc32(question.id.encode()) % 2 else "incorrect", "number")


def plant_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """`sample` and `label` both take the alias judge from its module."""
    monkeypatch.setattr("hneurons.answers.judges.alias.judge_alias", judge_by_number)


def compare_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rivals of a run with two refits and one random set in place of fifty and twenty."""
    quick = partial(compare_rivals, refits=2, draws=1)
    monkeypatch.setattr("hneurons.detection.rivals.compare.compare_rivals", quick)


def chunk_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages that work in parts have several of them, small as the run is."""
    monkeypatch.setattr(LocalEngine, "chunk", 30)
    monkeypatch.setattr(contributions, "SHARD_EXAMPLES", 20)


def run_all(run: Run, *, last: str = "evaluate") -> Run:
    """Every stage up to this one."""
    for stage in STAGES[: STAGES.index(last) + 1]:
        getattr(run, stage)()
    return run


def finish_run(folder: Path, plan: RunPlan, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A whole run with the planted judge and small chunks."""
    plant_judge(monkeypatch)
    chunk_small(monkeypatch)
    return run_all(Run(folder, plan))


def save_tiny_model(folder: Path, family: str = "llama", *, chat: bool = False) -> Path:
    """A model folder. Many tokens end an answer, or a random model would hardly ever end one."""
    model = tiny_transformer(family)
    model.generation_config.eos_token_id = list(range(1, 60))  # ASCII, so that no character ends in a stop token
    model.save_pretrained(folder)
    tiny_tokenizer(chat=chat).save_pretrained(folder)
    return folder


def write_questions(path: Path, n: int, *, prefix: str = "q", invented: bool = False) -> Path:
    words = ("river", "city", "king", "metal", "song")
    rows = [
        {
            "id": f"{prefix}{i}",
            "question": f"Which {words[i % 5]} has number {prefix} {i * 7}?",
            "answers": ["Paris"],
            "relation": words[i % 2],
            "answerable": not (invented and i % 2),
        }
        for i in range(n)
    ]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def make_plan(folder: Path, **changes: Any) -> RunPlan:
    """A plan whose model and question files lie in `folder`, made there if they are not."""
    if not (folder / "model").is_dir():
        save_tiny_model(folder / "model")
        write_questions(folder / "train.jsonl", 90)
        write_questions(folder / "test.jsonl.gz", 30, prefix="t", invented=True)
    options: dict[str, Any] = {
        "model": str(folder / "model"),
        "questions": f"file:{folder / 'train.jsonl'}",
        "tests": (f"file:{folder / 'test.jsonl.gz'}",),
        "n": 3,
        "min_agreement": 2,
        "max_new_tokens": 12,
        "shots": 2,
    }
    return RunPlan(**{**options, **changes})


def plan_arguments(plan: RunPlan) -> list[str]:
    """The plan as command line arguments."""
    return [
        *("--model", plan.model, "--questions", plan.questions),
        *(a for spec in plan.tests for a in ("--test", spec)),
        *("-n", str(plan.n), "--min-agreement", str(plan.min_agreement)),
        *("--max-new-tokens", str(plan.max_new_tokens), "--shots", str(plan.shots), "--judge", plan.judge),
    ]
