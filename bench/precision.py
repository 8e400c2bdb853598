"""float32 against bfloat16: speed, and what a detector fitted in one precision says in the other.

Samples answers once, measures their contributions in both precisions, fits a detector in each on the same questions,
and scores the held-out answers with every pair. Run: python bench/precision.py
"""

import argparse

import numpy as np
import torch
from contributions import batch_examples, measure_all
from measuring import take_turns
from sampling import ours
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import roc_auc_score

from hneurons.answers.judges.alias import judge_alias
from hneurons.answers.questions import load_questions
from hneurons.answers.questions.few_shot import few_shot_examples
from hneurons.answers.responses import sample_responses
from hneurons.models.language_model import LanguageModel, load_model
from hneurons.models.prompts import PromptStyle, common_prefix
from hneurons.models.sampling import Sampling
from hneurons.neurons.capture import ContributionMeter, Sequence
from hneurons.sparse.path import fit_path

PRECISIONS = ("float32", "bfloat16")


def measure_speed(models: dict[str, LanguageModel], questions: int, rounds: int) -> None:
    model = models["float32"]
    asked = load_questions("facts", limit=questions)
    style = PromptStyle(shots=few_shot_examples(5, avoid=asked))
    prompts, stops = [model.encode(question.text, style) for question in asked], model.stops(style)
    sampling = Sampling(temperature=0.2, max_new_tokens=24)
    batches, prefix = batch_examples(model, 2 * questions, 8)
    for work, unit, run in (
        ("sampling, 5 shots", "tokens/s", lambda model: ours(model, prompts, sampling, stops)),
        ("contributions", "tokens/s", lambda model: measure_all(model, batches, prefix)),
    ):
        ways = {name: (lambda model=model, run=run: run(model)) for name, model in models.items()}
        take_turns(f"{model.name}: {work}, by precision", ways, rounds=rounds, unit=unit)


def measure_agreement(models: dict[str, LanguageModel], questions: int) -> None:
    asked = load_questions("facts", limit=questions)
    style = PromptStyle(shots=few_shot_examples(5, avoid=asked))
    sampling = Sampling(temperature=0.2, max_new_tokens=24)
    drawn = sample_responses(models["float32"], asked, n=1, sampling=sampling, style=style).responses
    by_id = {question.id: question for question in asked}
    judged = [(r, judge_alias(by_id[r.question_id], r.text).verdict) for r in drawn if r.finish_reason == "stop"]
    kept = [(response, verdict) for response, verdict in judged if verdict in ("correct", "incorrect")]
    labels = np.array([verdict == "incorrect" for _, verdict in kept], dtype=int)
    features = {}
    for name, model in models.items():
        prompts = [model.encode(by_id[response.question_id].text, style) for response, _ in kept]
        sequences = [
            Sequence([*prompt, *response.token_ids], (list(range(len(prompt), len(prompt) + len(response.token_ids))),))
            for prompt, (response, _) in zip(prompts, kept, strict=True)
        ]
        meter = ContributionMeter(model, common_prefix(prompts), regions=1)
        parts = [meter.measure(sequences[first : first + 8]) for first in range(0, len(sequences), 8)]
        features[name] = torch.cat(parts)[:, 0].flatten(1).numpy()
    half = np.random.default_rng(0).permutation(len(labels)) < len(labels) // 2
    scores = {}
    for fitted in PRECISIONS:
        path = fit_path(features[fitted][half], labels[half])
        point = len(path.lambdas) // 2
        print(f"fitted in {fitted}: {len(path.support(point))} neurons")
        for scored in PRECISIONS:
            test, train = features[scored][~half], features[fitted][half]
            columns = (test[:, path.columns] - train[:, path.columns].mean(0)) / train[:, path.columns].std(0).clip(
                1e-12
            )
            scores[fitted, scored] = columns @ path.coef[point] + path.intercepts[point]
            auroc = roc_auc_score(labels[~half], scores[fitted, scored])
            print(
                f"  scored in {scored}: AUROC {auroc:.4f} on {int((~half).sum())} answers ({labels[~half].sum()} wrong)"
            )
        same, other = scores[fitted, "float32"], scores[fitted, "bfloat16"]
        print(f"  scores in both: Pearson {pearsonr(same, other)[0]:.5f}, Spearman {spearmanr(same, other)[0]:.5f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--questions", type=int, default=16, help="for speed")
    parser.add_argument("--answers", type=int, default=400, help="questions asked once for agreement; 0 leaves it out")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    models = {name: load_model(options.model, dtype=name) for name in PRECISIONS}  # type: ignore[arg-type]
    if options.rounds:
        measure_speed(models, options.questions, options.rounds)
    if options.answers:
        measure_agreement(models, options.answers)


if __name__ == "__main__":
    main()
