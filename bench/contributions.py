"""Contributions against a bare forward pass of the base model on the same padded batches.

Run: python bench/contributions.py
"""

import argparse
from pathlib import Path

import torch
from measuring import take_turns

from hneurons.answers.questions import load_questions
from hneurons.models.language_model import LanguageModel, load_model
from hneurons.models.prompts import PromptStyle, common_prefix
from hneurons.neurons.capture import ContributionMeter, Sequence


def batch_examples(model: LanguageModel, examples: int, batch: int) -> tuple[list[list[Sequence]], list[int]]:
    """Right answers to questions, sorted by length, in batches; and the prefix of all prompts."""
    sequences, prompts, style = [], [], PromptStyle()
    for question in load_questions("facts", limit=examples):
        prompt = model.encode(question.text, style)
        answer = model.tokenizer(f" {question.answers[0]}.", add_special_tokens=False)["input_ids"]
        end = len(prompt) + len(answer)
        prompts.append(prompt)
        sequences.append(Sequence([*prompt, *answer], (list(range(len(prompt), end - 1)), [end - 1])))
    sequences.sort(key=lambda sequence: len(sequence.ids))
    return [sequences[first : first + batch] for first in range(0, len(sequences), batch)], common_prefix(prompts)


def measure_all(model: LanguageModel, batches: list[list[Sequence]], prefix: list[int]) -> float:
    meter = ContributionMeter(model, prefix)
    for batch in batches:
        meter.measure(batch)
    return sum(len(sequence.ids) for batch in batches for sequence in batch)


@torch.inference_mode()
def bare(model: LanguageModel, batches: list[list[Sequence]]) -> float:
    for batch in batches:
        width = max(len(sequence.ids) for sequence in batch)
        rows = [sequence.ids + [0] * (width - len(sequence.ids)) for sequence in batch]
        model.decoder(input_ids=torch.tensor(rows), use_cache=False)
    return sum(len(sequence.ids) for batch in batches for sequence in batch)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--examples", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(options.model, dtype="float32")
    batches, prefix = batch_examples(model, options.examples, options.batch)
    ways = {
        "bare forward pass of the base model": lambda: bare(model, batches),
        "contributions, whole sequences": lambda: measure_all(model, batches, []),
        f"contributions, {len(prefix)}-token prefix reused": lambda: measure_all(model, batches, prefix),
    }
    work = f"{Path(options.model).name}: contributions of {options.examples} answers, batches of {options.batch}"
    take_turns(work, ways, rounds=options.rounds, unit="tokens/s")


if __name__ == "__main__":
    main()
