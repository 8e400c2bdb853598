"""Scoring answers that exist against bare forward passes of the same tokens: speed, memory, and the numbers.

Run: python bench/scoring.py
"""

import argparse
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from measuring import record, take_turns

from hneurons.answers.locating import locate_answers
from hneurons.answers.questions import load_questions
from hneurons.core.types import Example, Response
from hneurons.detection.assessing import assess_answers
from hneurons.detection.assessment import Answer
from hneurons.detection.detector import Detector
from hneurons.models.language_model import LanguageModel, load_model
from hneurons.models.prompts import PromptStyle
from hneurons.neurons.contributions import measure_contributions

STYLE = PromptStyle()
NEURONS = 44  # as many as the demo's detector has


def make_answers(model: LanguageModel, examples: int) -> list[Example]:
    """Right answers to questions in a sentence, located, with the token ids of their text."""
    found = []
    for question in load_questions("facts", limit=examples):
        text = f"The answer is {question.answers[0]}, as far as I know."
        ids = tuple(model.tokenizer(text, add_special_tokens=False)["input_ids"])
        found.append(Example(question, Response(question.id, 0, text, ids), "correct", "test"))
    located = locate_answers(found, tokenizer=model.tokenizer).examples
    return [example for example in located if example.token_span is not None]


def make_detector(model: LanguageModel) -> Detector:
    """A detector of neurons drawn by lot: what it reads takes as long as what a fitted one reads."""
    rng, one = np.random.default_rng(0), np.ones(NEURONS)
    columns = np.sort(rng.choice(model.shape[0] * model.shape[1], NEURONS, replace=False))
    data = {"style": STYLE.to_row(), "other": "response"}
    return Detector(model.identity, columns, rng.normal(size=NEURONS), one, one, 0.0, 0.0, {}, data)


def as_answers(examples: list[Example]) -> list[Answer]:
    return [Answer(e.id, e.question.text, e.response.text, token_ids=e.response.token_ids) for e in examples]


@torch.inference_mode()
def bare(model: LanguageModel, rows: list[list[int]], batch: int) -> float:
    """Every token of prompts and answers through the whole model, its head included, in padded batches."""
    for first in range(0, len(rows), batch):
        part = rows[first : first + batch]
        width = max(map(len, part))
        model.model(input_ids=torch.tensor([row + [0] * (width - len(row)) for row in part]), use_cache=False)
    return sum(map(len, rows))


def tokens_of(model: LanguageModel, examples: list[Example]) -> list[list[int]]:
    """Prompt and response of each example, those of like length together."""
    return sorted(([*model.encode(e.question.text, STYLE), *e.response.token_ids] for e in examples), key=len)


def peak(options: argparse.Namespace, way: str) -> float:
    """The peak memory of one way in a process of its own, in GiB."""
    command = [sys.executable, __file__, "--model", options.model, "--examples", str(options.examples)]
    command += ["--batch", str(options.batch), "--only", way]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--examples", type=int, default=48)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("bare", "score"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(options.model, dtype="float32")
    examples, detector = make_answers(model, options.examples), make_detector(model)
    rows, answers = tokens_of(model, examples), as_answers(examples)

    def score() -> float:
        assess_answers(model, detector, answers, batch_size=options.batch)
        return sum(map(len, rows))

    ways = {"bare": lambda: bare(model, rows, options.batch), "score": score}
    if options.only:
        ways[options.only]()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
        return
    work = f"{Path(options.model).name}: scoring {len(examples)} answers, batches of {options.batch}"
    named = {"bare forward passes of the same tokens": ways["bare"], "hneurons, score": ways["score"]}
    take_turns(f"{work}, speed", named, rounds=options.rounds, unit="tokens/s")
    record(f"{work}, peak memory", {"bare forward passes": [peak(options, "bare")],
                                    "hneurons, score": [peak(options, "score")]}, "GiB")  # fmt: skip
    measured = measure_contributions(model, examples, style=STYLE)
    numbers = [n for n, row in enumerate(measured.rows) if row["region"] == "answer"]
    evaluated = detector.decide(measured.matrix(numbers))
    scored = {row.id: row.log_odds for row in assess_answers(model, detector, answers).rows}
    off = [abs(scored[measured.rows[n]["example_id"]] - value) for n, value in zip(numbers, evaluated, strict=True)]
    record(f"{work}, difference from evaluate", {"spread of the log odds": [float(np.std(evaluated))],
                                                 "largest difference": [float(max(off))]}, "log odds")  # fmt: skip


if __name__ == "__main__":
    main()
