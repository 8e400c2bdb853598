"""Examples and contributions whose truth is known, for tests of the stages after sampling."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from hneurons.core.artifacts import Manifest
from hneurons.core.seeds import fingerprint
from hneurons.core.timing import TIMING
from hneurons.core.types import Example, ModelIdentity, Question, Response, identify
from hneurons.detection.answer_rows import Dataset
from hneurons.models.prompts import PromptStyle
from hneurons.neurons.contributions import Contributions
from hneurons.neurons.states import PLACES, States


def read_tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path, but for the times that work took."""
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != TIMING]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def make_example(
    number: int | str,
    *,
    wrong: bool,
    token_ids: tuple[int, ...] = (50, 51, 52),
    token_span: tuple[int, int] | None = (0, 2),
    split: Literal["train", "test"] = "train",
    question: str | None = None,
) -> Example:
    text = question or f"What is number {number}?"
    logprobs = tuple(-0.1 * (i % 7) - 0.1 for i in token_ids)
    response = Response(f"q{number}", 0, "abcdef"[: len(token_ids)], token_ids, logprobs)
    verdict: Literal["correct", "incorrect"] = "incorrect" if wrong else "correct"
    return Example(Question(f"q{number}", text, ("a",)), response, verdict, split, token_span and (0, 2), token_span)


def make_identity(shape: tuple[int, int], *, weights: str = "w") -> ModelIdentity:
    return ModelIdentity("synthetic", "llama", *shape, 32, "c", "t", weights)


def plant_states(data: Dataset, *, strength: float, layer: int = 2, hidden: int = 8, seed: int = 0) -> Dataset:
    """The dataset with states of noise, in which one direction of one layer's answer mean tells wrong answers."""
    rng = np.random.default_rng([seed, 5])
    n, layers = len(data.examples), data.contributions.shape[0] + 1
    residual = {f"{place}/{at}": rng.normal(size=(n, hidden)) for place in PLACES for at in range(layers)}
    residual[f"answer mean/{layer}"][:, 3] += strength * np.array([e.hallucinated for e in data.examples])
    columns = data.contributions.shape[0] * data.contributions.shape[1]
    rows = [{"example_id": e.id, "mean_entropy": 1.0 + 0.1 * float(v), "largest_entropy": 2.0}
            for e, v in zip(data.examples, rng.normal(size=n), strict=True)]  # fmt: skip
    manifest = Manifest(stage="states", settings={"layers": layers}, inputs={"seed": str(seed)}, complete=True)
    halves = {name: values.astype(np.float16) for name, values in residual.items()}
    question = rng.normal(size=(n, columns)).astype(np.float16)
    return data._replace(states=States(rows, layers, manifest, None, halves, question))


def make_dataset(
    questions: int,
    *,
    shape: tuple[int, int] = (3, 40),
    planted: dict[tuple[int, int], float] | None = None,
    seed: int = 0,
    prefix: str = "",
    wrong_share: float = 0.5,
    identity: ModelIdentity | None = None,
) -> Dataset:
    """Contributions of noise in which the planted (layer, neuron) are stronger by so many deviations where an answer
    is wrong, over its answer tokens only."""
    rng = np.random.default_rng(seed)
    wrong = np.arange(questions) < round(wrong_share * questions)
    rng.shuffle(wrong)
    examples = [make_example(f"{prefix}{i}", wrong=bool(w)) for i, w in enumerate(wrong)]
    layers, neurons = shape
    values = np.abs(rng.normal(1.0, 0.2, size=(2 * questions, layers * neurons)))
    rows: list[dict[str, Any]] = []
    for example in examples:
        for region in ("answer", "other"):
            if region == "answer" and example.hallucinated:
                for (layer, neuron), strength in (planted or {}).items():
                    values[len(rows), layer * neurons + neuron] += 0.2 * strength
            rows.append(
                {
                    "id": f"{example.id}/{region}",
                    "example_id": example.id,
                    "question_id": example.question.id,
                    "region": region,
                    "hallucinated": example.hallucinated,
                    "tokens": 2,
                }
            )
    model = (identity or make_identity(shape)).to_row()
    manifest = Manifest(
        stage="contributions",
        settings={"model": model, "other": "response", "shape": list(shape), "style": PromptStyle().to_row()},
        inputs={"examples": identify(examples)},
        complete=True,
        content=fingerprint(rows),
    )
    return Dataset(examples, Contributions(rows, shape, manifest, values=values.astype(np.float16)))
