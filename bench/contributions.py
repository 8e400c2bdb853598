"""Contributions against a bare forward pass of the base model on the same padded batches, and against the usual way.

Ratios in one run, medians of interleaved repeats. Run: python bench/contributions.py
"""

import argparse
import time
from collections.abc import Callable

import torch

from hneurons.answers.questions import load_questions
from hneurons.models.language_model import load_model
from hneurons.models.prompts import PromptStyle, common_prefix
from hneurons.neurons.capture import ContributionMeter, Sequence


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    model, style = load_model(options.model), PromptStyle()
    sequences, prompts = [], []
    for question in load_questions("facts", limit=options.examples):
        prompt = model.encode(question.text, style)
        answer = model.tokenizer(f" {question.answers[0]}.", add_special_tokens=False)["input_ids"]
        end = len(prompt) + len(answer)
        prompts.append(prompt)
        sequences.append(Sequence([*prompt, *answer], (list(range(len(prompt), end - 1)), [end - 1])))
    sequences.sort(key=lambda s: len(s.ids))
    batches = [sequences[i : i + options.batch] for i in range(0, len(sequences), options.batch)]
    prefix = common_prefix(prompts)

    @torch.inference_mode()
    def bare() -> None:
        for batch in batches:
            width = max(len(s.ids) for s in batch)
            model.decoder(input_ids=torch.tensor([s.ids + [0] * (width - len(s.ids)) for s in batch]), use_cache=False)

    @torch.inference_mode()
    def one_by_one_with_head() -> None:
        for sequence in sequences:
            model.model(input_ids=torch.tensor([sequence.ids]), use_cache=False)

    def contributions(shared: list[int]) -> Callable[[], None]:
        def measure() -> None:
            meter = ContributionMeter(model, shared)
            for batch in batches:
                meter.measure(batch)

        return measure

    ways: dict[str, Callable[[], None]] = {
        "bare forward pass of the base model": bare,
        "contributions, whole sequences": contributions([]),
        f"contributions, {len(prefix)}-token prefix reused": contributions(prefix),
        "forward pass with LM head, one by one": one_by_one_with_head,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(options.repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if repeat:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    tokens = sum(len(s.ids) for s in sequences)
    print(
        f"{options.model}, {len(sequences)} examples, {tokens / len(sequences):.0f} tokens each, "
        f"batch {options.batch}, {torch.get_num_threads()} threads"
    )
    floor = sorted(seconds["bare forward pass of the base model"])[options.repeats // 2]
    for name, values in seconds.items():
        median = sorted(values)[options.repeats // 2]
        print(f"  {name:<44} {tokens / median:8.0f} tokens/s   {median / floor:.2f} times the bare pass")


if __name__ == "__main__":
    main()
