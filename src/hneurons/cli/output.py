"""What the verbs print: rich tables for people, plain rows for --json."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hneurons.core.artifacts import MANIFEST, RUN_JSON, Manifest
from hneurons.core.errors import ArtifactError, InputError
from hneurons.core.files import read_checked, stored_errors
from hneurons.core.rows import dump_json, field_row, to_row
from hneurons.core.wording import count, did_you_mean, interval, number, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from hneurons.detection.detector import Detector
    from hneurons.detection.evaluation import DatasetResult
    from hneurons.neurons.neuron_set import NeuronSet
    from hneurons.runs.folder import RunFolder


def print_json(value: Any) -> None:
    """One JSON document on standard output; NaN becomes null."""
    print(dump_json(value, indent=1).decode())


def make_console() -> "Console":
    """A console for stored text: it reads no markup in it, and no character of it commands the terminal."""
    from rich.console import Console

    class PlainConsole(Console):
        def render_str(self, text: str, **options: Any) -> "Text":
            return super().render_str(printable(text), **options)

    return PlainConsole(markup=False, emoji=False)


def echo(text: str, *, err: bool = False) -> None:
    """A line of text, which may be stored text, on standard output or standard error."""
    import typer

    typer.echo(printable(text), err=err)


def print_tree(title: str, value: Any) -> None:
    """Nested counts as an indented tree."""
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(Text(printable(title)))
    _grow(tree, value)
    make_console().print(tree)


def _grow(tree: Any, value: Any) -> None:
    from rich.text import Text

    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, dict) or (isinstance(item, list) and any(isinstance(i, dict) for i in item)):
            _grow(tree.add(Text(printable(str(key)))), item)
        else:
            tree.add(Text(printable(f"{key}: {item}" if isinstance(value, dict) else str(item))))


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
    """What casts doubt on the signal, the neurons and settings, and the strongest neurons."""
    from rich.table import Table

    from hneurons.detection.fitting import doubt_signal

    neurons = detector.neuron_set()
    console = make_console()
    settings = detector.settings
    if doubt := doubt_signal(detector):
        console.print(doubt)
    console.print(
        f"{len(neurons)} H-neurons ({1000 * neurons.share:.2f} per mille of all), {len(detector.columns)} columns; "
        f"lambda/lambda_max {settings['lambda_ratio']:.3f}, C {settings['C']:.4g}"
    )
    if settings.get("edge"):
        console.print(f"the penalty lies on the edge of the path ({settings['edge']}): another might do better still")
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
    from rich.table import Table

    from hneurons.detection.evaluation import few_answers

    table = Table("dataset", "right + wrong", "method", "accuracy %", "AUROC", title="detection on unseen questions")
    for name, result in results.items():
        for place, row in enumerate(result.table()):
            table.add_row(*((name, f"{result.right} + {result.wrong}") if place == 0 else ("", "")), *row)
        table.add_section()
    console = make_console()
    console.print(table)
    for name, result in results.items():
        if warning := few_answers(result.right, result.wrong):
            console.print(f"{name}: {warning}")


def print_run(run: "RunFolder", results: "dict[str, DatasetResult]", report: Path) -> None:
    """The verdict, what the detector does on each test set beside its strongest rivals, and where to read on."""
    from rich.table import Table

    from hneurons.detection.evaluation import few_answers
    from hneurons.report.findings import state_verdict

    detector, console = run.load_detector(), make_console()
    print_detector(detector)
    table = Table("dataset", "detector", title="AUROC on unseen questions", collapse_padding=True)
    table.add_column("strongest other score", min_width=15)
    for header in ("less that", "less random neurons"):
        table.add_column(header)
    for name, result in results.items():
        table.add_row(f"{name}\n{result.right} + {result.wrong}", *_against(result))
    console.print(table)
    for name, result in results.items():
        if warning := few_answers(result.right, result.wrong):
            console.print(f"{name}: {warning}")
    console.print(state_verdict(detector, next(iter(results.values()), None)))
    console.print(f"all methods: hneurons evaluate {run.folder}\nreport: {report}", soft_wrap=True)


def _against(result: "DatasetResult") -> list[str]:
    """AUROC of the detector, the strongest other score with its AUROC, and how much better the detector is.

    The last is its lead over as many random neurons fitted alike.
    """
    from hneurons.detection.evaluation import DETECTOR
    from hneurons.detection.like_for_like import LIKE_FOR_LIKE

    others = [s for s in result.scores if s.method not in (DETECTOR, *LIKE_FOR_LIKE) and s.auroc.value == s.auroc.value]
    if not others:
        return ["not testable", "", "", ""]
    best = max(others, key=lambda score: score.auroc.value)
    less = result.difference(DETECTOR, best.method)
    random = [interval(difference.auroc) for _, difference in result.like_for_like[:1]]
    return [interval(result.detector.auroc), f"{best.method} {number(best.auroc.value)}",
            interval(less) if less else "", *(random or [""])]  # fmt: skip


def describe(path: Path) -> dict[str, Any]:
    """What a folder is, its result first: a run, a release, an export, a detector, a neuron set or any stage.

    Raises `InputError` for anything else.
    """
    from hneurons.interventions.export.target import EXPORT_JSON
    from hneurons.neurons.opening import RELEASE_JSON

    if (path / RUN_JSON).is_file():
        return _describe_run(path)
    if (path / RELEASE_JSON).is_file():
        from hneurons.releases.release import load_release

        release = load_release(path)
        domains = {d["name"]: f"{d['outcome']}: {d['reason']}" for d in release.about["domains"]}
        return {"result": {"neurons": describe_neurons(release.neurons), **domains}, "plan": release.about["plan"]}
    note = path / EXPORT_JSON if path.is_dir() else path.with_name(f"{path.name}.json")
    if note.is_file():
        with stored_errors(note):
            about = read_checked(note)
        if {"format", "alpha", "neurons"} <= set(about):
            scaled = f"{count(len(about['neurons']), 'neuron')} at alpha {about['alpha']:g} as {about['format']}"
            return {"result": scaled, **{k: v for k, v in about.items() if k != "neurons"}}
    stage = field_row(Manifest.load(path)) if (path / MANIFEST).is_file() else {}
    found = _stage_result(path)
    if not stage and not found:
        raise InputError(f"{path} is neither a run, a stage, a release, an export nor a neuron set: check the path")
    return {**({"result": found} if found else {}), **stage}


def describe_neurons(neurons: "NeuronSet") -> str:
    """How many neurons, of which model, and how many of them half-samples agree on."""
    from hneurons.detection.fitting import STABLE

    known = [p for p in neurons.selection_probability.tolist() if not math.isnan(p)]
    stable = f"{sum(p >= STABLE for p in known)} stable (in at least {STABLE:.0%} of half-samples)"
    return f"{count(len(neurons), 'H-neuron')} of {neurons.identity.name}, {stable if known else 'stability unknown'}"


def _stage_result(path: Path) -> dict[str, str]:
    """The result of a detector, a neuron set or an evaluation; empty for another stage."""
    from hneurons.detection.evaluation import RESULT, load_evaluation
    from hneurons.neurons.neuron_set import NEURONS_JSON, NeuronSet

    if (path / NEURONS_JSON).is_file():
        return {"neurons": describe_neurons(NeuronSet.load(path))}
    if (path / RESULT).is_file():
        return {
            name: f"AUROC {interval(result.detector.auroc)} ({result.right} right + {result.wrong} wrong answers)"
            for name, result in load_evaluation(path).items()
        }
    return {}


def _describe_run(path: Path) -> dict[str, Any]:
    from hneurons.runs.folder import RunFolder

    run, stages = RunFolder(path), {}
    for manifest in sorted(path.rglob(MANIFEST)):
        found = Manifest.load(manifest.parent)
        state = "complete" if found.complete else f"{found.done} of {found.expected} chunks"
        stages[str(manifest.parent.relative_to(path))] = {"state": state, **found.summary}
    result = {**_finished(run.evaluation), **_finished(run.detector)}
    outdated = _outdated(run)
    return {
        "result": {**result, **outdated} or "nothing is evaluated yet",
        "plan": to_row(run.plan),
        "stages": stages,
    }


def _finished(stage: Path) -> dict[str, str]:
    """The result of a stage that is complete."""
    done = (stage / MANIFEST).is_file() and Manifest.load(stage).complete
    return _stage_result(stage) if done else {}


def _outdated(run: "RunFolder") -> dict[str, str]:
    try:
        run.check_current()
    except ArtifactError as error:
        return {"outdated": str(error)}
    return {}


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
        raise InputError(f"unknown kind '{kind}'{did_you_mean(kind, list(kinds))}")
    return kinds[kind]()
