"""What lm-polygraph says of seeded answers and samples, as an oracle of our scores.

Run with a Python that has lm-polygraph, rouge-score and nltk beside numpy, torch and transformers:
    python tests/support/polygraph_oracle.py        (writes polygraph_oracle.json beside it)

Only its estimators and calculators are imported. The package's `__init__` files, which load every model that it knows,
are stepped over.
"""

import importlib
import json
import sys
import types
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

FIXTURE = Path(__file__).with_suffix(".json")
VOCABULARY, ANSWERS, SAMPLES = 12, 12, 6
MEANINGS = (("Rome", "The city of Rome", "Roma in Italy"), ("Oslo", "Oslo harbour"), ("Bern",), ("Lima", "old Lima"))


def make_inputs() -> list[dict[str, Any]]:
    """Answers with a distribution at each token, the last one being the stop token, and samples of planted meanings."""
    rng = np.random.default_rng(7)
    found = []
    for _ in range(ANSWERS):
        logits = (2.0 * rng.normal(size=(int(rng.integers(2, 7)), VOCABULARY))).round(4)
        logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        tokens = [int(rng.choice(VOCABULARY, p=np.exp(row))) for row in logprobs]
        meanings = [int(rng.integers(len(MEANINGS))) for _ in range(SAMPLES)]
        texts = [str(rng.choice(MEANINGS[meaning])) for meaning in meanings]
        found.append(
            {"logits": logits, "distributions": logprobs, "tokens": tokens, "samples": texts, "meanings": meanings}
        )
    return found


def open_polygraph() -> Any:
    """Import one module of lm-polygraph by its name, and nothing that it does not itself need."""
    spec = find_spec("lm_polygraph")
    assert spec is not None and spec.submodule_search_locations
    root = Path(spec.submodule_search_locations[0])
    for name in ("", ".estimators", ".stat_calculators", ".utils"):
        package = types.ModuleType(f"lm_polygraph{name}")
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[package.__name__] = package
    model = types.ModuleType("lm_polygraph.utils.model")
    model.WhiteboxModel = model.BlackboxModel = model.Model = object  # type: ignore[attr-defined]
    sys.modules[model.__name__] = model
    return lambda name: importlib.import_module(f"lm_polygraph.{name}")


def ask_polygraph(inputs: list[dict[str, Any]]) -> dict[str, list[float]]:
    """The estimators' values by the name of our score."""
    load = open_polygraph()
    own = [np.array([row[t] for row, t in zip(one["distributions"], one["tokens"], strict=True)]) for one in inputs]
    stats: dict[str, Any] = {
        "greedy_log_probs": [list(one["distributions"]) for one in inputs],
        "greedy_log_likelihoods": own,
        "sample_texts": [one["samples"] for one in inputs],
    }
    stats |= load("stat_calculators.entropy").EntropyCalculator()(stats)
    same = np.array([[[a == b for b in one["meanings"]] for a in one["meanings"]] for one in inputs])
    stats |= {"semantic_matrix_classes": same.astype(int), "entailment_id": 1}
    stats |= {"semantic_matrix_entail": same.astype(float), "semantic_matrix_contra": 1.0 - same}
    stats |= load("stat_calculators.semantic_classes").SemanticClassesCalculator()(stats, [], None)
    tokens = load("estimators.max_probability").MaximumTokenProbability()
    entropies = load("estimators.token_entropy").TokenEntropy()
    stopped = {"greedy_log_likelihoods": [np.append(values, 0.0) for values in own],
               "entropy": [[*values, 0.0] for values in stats["entropy"]]}  # fmt: skip
    entropy = load("estimators.semantic_entropy").SemanticEntropy(class_probability_estimation="frequency")
    found = {
        "sum of log-probabilities": load("estimators.max_probability").MaximumSequenceProbability()(stats),
        "perplexity": np.exp(load("estimators.perplexity").Perplexity()(stats)),  # it is given as a logarithm
        "minimum log-probability": [values.max() for values in tokens(stopped)],  # these leave the stop token out
        "largest token entropy": [values.max() for values in entropies(stopped)],
        "mean token entropy": load("estimators.token_entropy").MeanTokenEntropy()(stats),
        "lexical similarity": load("estimators.lexical_similarity").LexicalSimilarity("rougeL")(stats),
        "number of meanings": load("estimators.num_sem_sets").NumSemSets()(stats),
        "semantic entropy": entropy(stats),
    }
    return {name: [round(float(value), 6) for value in values] for name, values in found.items()}


def main() -> None:
    inputs = make_inputs()
    rows = [
        {
            "logits": one["logits"].tolist(),
            "tokens": one["tokens"],
            "samples": one["samples"],
            "meanings": one["meanings"],
        }
        for one in inputs
    ]
    versions = {name: version(name) for name in ("lm-polygraph", "rouge-score", "numpy")}
    parts = [f'"versions": {json.dumps(versions)}', f'"oracle": {json.dumps(ask_polygraph(inputs))}']
    lines = ",\n".join(json.dumps(row) for row in rows)
    FIXTURE.write_text("{" + ",\n".join([*parts, f'"answers": [\n{lines}\n]']) + "}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
