"""All scores of stored answers, beyond measuring their contributions, against that.

Scores that draw another answer are left out: the further samples are stored, and the model is not asked for a number.
The states are one pass of the model over each answer, and P(True) is another; all other scores read what is stored.

Run: python bench/scores.py
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from measuring import take_turns

from hneurons.answers.questions import load_questions
from hneurons.core.types import Example, Response
from hneurons.detection.answer_rows import Dataset
from hneurons.detection.scores import score_answers
from hneurons.models.language_model import LanguageModel, load_model
from hneurons.models.options import Asked, OptionReader
from hneurons.models.prompts import PromptStyle
from hneurons.neurons.contributions import load_contributions, measure_contributions
from hneurons.neurons.states import measure_states

SAMPLES, BATCH = 5, 32


def make_answers(model: LanguageModel, answers: int) -> tuple[list[Example], list[Response]]:
    """Right answers to half of the questions and another question's answer to the others, with samples of both."""
    rng = np.random.default_rng(0)
    one_a_fact = {question.group: question for question in load_questions("facts", limit=4 * answers)}
    questions = [*one_a_fact.values()][:answers]  # no fact is in both halves
    texts = [f" {question.answers[0]}." for question in questions]
    examples, responses = [], []
    for number, question in enumerate(questions):
        wrong = bool(number % 2)
        for sample in range(SAMPLES):
            text = texts[number if sample % 2 == wrong else int(rng.integers(len(texts)))]
            ids = tuple(model.tokenizer(text, add_special_tokens=False)["input_ids"])
            logprobs, entropies = (tuple(-rng.exponential(size=len(ids)).round(4)) for _ in range(2))
            response = Response(question.id, sample, text.strip(), ids, logprobs, "stop", tuple(-e for e in entropies))
            responses.append(response)
        first = responses[-SAMPLES]
        span, place = (0, len(first.text) - 1), (0, len(first.token_ids) - 1)
        split = "train" if number < len(questions) // 2 else "test"
        examples.append(Example(question, first, "incorrect" if wrong else "correct", split, span, place))
    return examples, responses


def halves(examples: Sequence[Example]) -> list[list[Example]]:
    return [[e for e in examples if e.split == split] for split in ("train", "test")]


def contribute(model: LanguageModel, examples: Sequence[Example], folder: Path) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for part in halves(examples):
            measure_contributions(model, part, style=PromptStyle(), out=Path(place) / part[0].split)
    return len(examples)


def read_true(model: LanguageModel, examples: Sequence[Example]) -> None:
    asked = [
        Asked(
            f"Question: {e.question.text}\nProposed Answer: {e.response.text}\nIs the proposed answer:\n (A) True\n "
            "(B) False",
            "The proposed answer is: (",
        )
        for e in examples
    ]
    reader = OptionReader(model, asked, ("A", "B"))
    order = sorted(range(len(asked)), key=lambda number: len(reader.prompts[number]))
    for start in range(0, len(order), BATCH):
        reader.read(order[start : start + BATCH])


def score(
    model: LanguageModel, examples: Sequence[Example], responses: Sequence[Response], measured: Path, folder: Path
) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        data = []
        for part in halves(examples):
            states = measure_states(model, part, style=PromptStyle(), out=Path(place) / part[0].split)
            data.append(Dataset(part, load_contributions(measured / part[0].split), responses, states))
        score_answers(*data, out=Path(place) / "scores")
    return len(examples)


def ask(model: LanguageModel, examples: Sequence[Example]) -> float:
    for part in halves(examples):
        read_true(model, part)
    return len(examples)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--answers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(options.model, dtype=options.dtype)
    examples, responses = make_answers(model, options.answers)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in halves(examples):
            measure_contributions(model, part, style=PromptStyle(), out=folder / "measured" / part[0].split)
        ways = {
            "contributions": lambda: contribute(model, examples, folder),
            "states and all scores but P(True)": lambda: score(model, examples, responses, folder / "measured", folder),
            "P(True)": lambda: ask(model, examples),
        }
        take_turns(
            f"scores of {len(examples)} answers, {options.model}", ways, rounds=options.rounds, unit="s", warm=False
        )


if __name__ == "__main__":
    main()
