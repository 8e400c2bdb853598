"""What the verbs print: rich tables for people, plain rows for --json."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hneurons.core.artifacts import MANIFEST, Manifest
from hneurons.core.errors import InputError
from hneurons.core.rows import dump_json, field_row, to_row
from hneurons.core.wording import interval, percent, spread

if TYPE_CHECKING:
    from hneurons.detection.detector import Detector
    from hneurons.detection.evaluation import DatasetResult
    from hneurons.runs.folder import RunFolder


def print_json(value: Any) -> None:
    """One JSON document on standard output; NaN becomes null."""
    print(dump_json(value, indent=1).decode())


def print_tree(title: str, value: Any) -> None:
    """Nested counts as an indented tree."""
    from rich.console import Console
    from rich.tree import Tree

    tree = Tree(title)
    _grow(tree, value)
    Console().print(tree)


def _grow(tree: Any, value: Any) -> None:
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, dict) or (isinstance(item, list) and any(isinstance(i, dict) for i in item)):
            _grow(tree.add(str(key)), item)
        else:
            tree.add(f"{key}: {item}" if isinstance(value, dict) else str(item))


def detector_row(detector: "Detector") -> dict[str, Any]:
    neurons = detector.neuron_set()
    return {
        "neurons": len(neurons),
        "per_mille": 1000 * neurons.share,
        "columns": len(detector.columns),
        "threshold": detector.threshold,
        "settings": detector.settings,
        "data": detector.data,
        "h_neurons": [
            {"layer": int(i), "neuron": int(j), "weight": float(w), "selection_probability": float(p)}
            for i, j, w, p in zip(
                neurons.layers, neurons.neurons, neurons.weights, neurons.selection_probability, strict=True
            )
        ],
    }


def results_row(results: "dict[str, DatasetResult]") -> dict[str, Any]:
    return {name: {k: v for k, v in to_row(r).items() if k not in ("items", "roc")} for name, r in results.items()}


def run_row(run: "RunFolder", results: "dict[str, DatasetResult]", report: Path) -> dict[str, Any]:
    detector = detector_row(run.load_detector())
    return {"plan": to_row(run.plan), "detector": detector, "evaluation": results_row(results), "report": str(report)}


def print_detector(detector: "Detector") -> None:
    from rich.console import Console
    from rich.table import Table

    neurons = detector.neuron_set()
    console = Console()
    settings = detector.settings
    console.print(
        f"{len(neurons)} H-neurons ({1000 * neurons.share:.2f} per mille of all), {len(detector.columns)} columns; "
        f"lambda/lambda_max {settings['lambda_ratio']:.3f}, C {settings['C']:.4g}"
    )
    stability = settings.get("stability", {})
    if "reached" in stability:
        console.print(
            f"selection probabilities from {stability['half_samples']} half-samples, of which {stability['reached']} "
            "reach the chosen penalty"
        )
    table = Table("layer", "neuron", "weight", "selection probability", title="strongest H-neurons")
    rows = zip(neurons.layers, neurons.neurons, neurons.weights, neurons.selection_probability, strict=True)
    for layer, neuron, weight, probability in list(rows)[:10]:
        table.add_row(str(layer), str(neuron), f"{weight:.3f}", f"{probability:.2f}")
    console.print(table)


def print_evaluation(results: "dict[str, DatasetResult]") -> None:
    """As in the paper's Table 1, with intervals and leak checks."""
    from rich.console import Console
    from rich.table import Table

    table = Table("dataset", "right + wrong", "method", "accuracy %", "AUROC", title="detection on unseen questions")
    for name, result in results.items():
        for place, score in enumerate(result.scores):
            head = (name, f"{result.right} + {result.wrong}") if place == 0 else ("", "")
            table.add_row(*head, score.method, percent(score.accuracy), interval(score.auroc))
        random = result.random
        if random.size:
            mean, low, high = (100 * v for v in random.accuracy)
            area = spread(*random.auroc) if math.isfinite(random.auroc[0]) else "not testable"
            method = f"{random.size} random neurons, {random.draws} draws"
            table.add_row("", "", method, spread(mean, low, high, 1), area)
        table.add_section()
    Console().print(table)


def print_run(run: "RunFolder", results: "dict[str, DatasetResult]", report: Path) -> None:
    from rich.console import Console

    print_detector(run.load_detector())
    print_evaluation(results)
    Console().print(f"report: {report}", soft_wrap=True)


def describe(path: Path) -> dict[str, Any]:
    """Settings and counts of a stage's folder, or of every stage of a run. Raises `InputError` for anything else."""
    from hneurons.neurons.opening import RUN_JSON
    from hneurons.runs.plan import RunPlan

    if (path / MANIFEST).is_file():
        return field_row(Manifest.load(path))
    if not (path / RUN_JSON).is_file():
        raise InputError(f"{path} is neither a run nor the folder of a stage")
    stages = {}
    for manifest in sorted(path.rglob(MANIFEST)):
        found = Manifest.load(manifest.parent)
        state = "complete" if found.complete else f"{found.done} of {found.expected} chunks"
        stages[str(manifest.parent.relative_to(path))] = {"state": state, **found.summary}
    return {"plan": to_row(RunPlan.load(path)), "stages": stages}


def known(kind: str) -> dict[str, str]:
    """Name -> one line, for every registered thing of a kind. Raises `InputError` for an unknown kind."""
    from hneurons.answers.judging import JUDGES
    from hneurons.answers.locating import FINDERS
    from hneurons.answers.questions import QUESTIONS
    from hneurons.audits import AUDITS
    from hneurons.benchmarks import BENCHMARKS
    from hneurons.detection.scores import SCORES
    from hneurons.models.checkpoints import PACKAGED
    from hneurons.neurons.signals import SIGNALS

    kinds: dict[str, Callable[[], dict[str, str]]] = {
        "audits": AUDITS.summaries,
        "benchmarks": BENCHMARKS.summaries,
        "questions": QUESTIONS.summaries,
        "judges": JUDGES.summaries,
        "finders": FINDERS.summaries,
        "scores": SCORES.summaries,
        "signals": SIGNALS.summaries,
        "models": lambda: {name: f"packaged model: {m.pip}" for name, m in PACKAGED.items()},
    }
    if kind not in kinds:
        raise InputError(f"unknown kind '{kind}': known are {', '.join(sorted(kinds))}")
    return kinds[kind]()
