"""Ten answers a question: ours against transformers' generate(num_return_sequences=10), same model, prompts, settings.

Prints useful tokens a second (up to and including the stop token) and ratios. Run: python bench/sampling.py
"""

import argparse
import time

import torch

from hneurons.answers.questions import load_questions
from hneurons.answers.questions.few_shot import few_shot_examples
from hneurons.models.language_model import LanguageModel, load_model
from hneurons.models.prefill import Prompts, prefill_shared
from hneurons.models.prompts import PromptStyle, common_prefix
from hneurons.models.sampling import Branch, Generation, Sampling, generate


def ours(
    model: LanguageModel, prompts: list[list[int]], sampling: Sampling, stops: frozenset[int]
) -> tuple[int, float]:
    start = time.perf_counter()
    prefix = common_prefix(prompts)
    prefilled = Prompts(model, prompts, prefix, prefill_shared(model, prefix), sampling.top_k)
    done: list[Generation] = []
    branches = [Branch(i, (i, s)) for i in range(len(prompts)) for s in range(10)]
    generate(model, prefilled, branches, sampling, stops, on_done=lambda b, g: done.append(g) or ())
    return sum(len(g.token_ids) for g in done), time.perf_counter() - start


def stock(
    model: LanguageModel, prompts: list[list[int]], sampling: Sampling, stops: frozenset[int], batch: int
) -> tuple[int, float]:
    torch.manual_seed(0)
    start, tokens = time.perf_counter(), 0
    for first in range(0, len(prompts), batch):
        rows = prompts[first : first + batch]
        width = max(map(len, rows))
        ids = torch.tensor([[0] * (width - len(r)) + r for r in rows])
        mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows])
        out = model.model.generate(
            ids,
            attention_mask=mask,
            do_sample=True,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            max_new_tokens=sampling.max_new_tokens,
            num_return_sequences=10,
            eos_token_id=sorted(stops),
            pad_token_id=min(stops),
        )
        for row in out[:, width:].tolist():
            tokens += next((i + 1 for i, token in enumerate(row) if token in stops), len(row))
    return tokens, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--questions", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    model = load_model(options.model)
    questions = load_questions("facts", limit=options.questions)
    sampling = Sampling()
    for shots in (0, 5):
        style = PromptStyle(shots=few_shot_examples(shots, avoid=questions))
        prompts = [model.encode(q.text, style) for q in questions]
        stops = model.stops(style)
        runs: dict[str, list[float]] = {}
        for _ in range(options.repeats):
            for name, (tokens, seconds) in {
                "ours": ours(model, prompts, sampling, stops),
                "stock, 1 question at a time": stock(model, prompts, sampling, stops, 1),
                "stock, 8 questions at a time": stock(model, prompts, sampling, stops, 8),
            }.items():
                runs.setdefault(name, []).append(tokens / seconds)
        asked = f"{len(questions)} questions x 10 samples, {shots} shots"
        print(f"{options.model}, {asked}, {torch.get_num_threads()} threads")
        median = {name: sorted(values)[len(values) // 2] for name, values in runs.items()}
        for name, rate in median.items():
            print(f"  {name:<30} {rate:7.1f} useful tokens/s   ours is {median['ours'] / rate:.2f} times as fast")


if __name__ == "__main__":
    main()
