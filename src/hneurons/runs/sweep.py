"""A sweep: scaled neurons on benchmarks, beside random sets, in one folder that several calls can fill.

FOLDER/BENCHMARK/       every reply with its grade
FOLDER/neurons/LABEL/   the selected neurons and each control
FOLDER/results.json     all results
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hneurons.core.errors import InputError, check_most
from hneurons.neurons.opening import NeuronSource, find_neurons

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hneurons.benchmarks.benchmark import Benchmark
    from hneurons.benchmarks.sweeps import Sweep
    from hneurons.interventions.gate import RiskAbove
    from hneurons.interventions.intervention import Scope
    from hneurons.models.endpoint import Endpoint
    from hneurons.models.language_model import LanguageModel
    from hneurons.neurons.neuron_set import NeuronSet

SPLITS = ("", "held_out", "selection")
LARGEST_ALPHA = 1000.0
MOST_CONTROLS = 1000
_MATCHED_ON = 64  # questions on which the contributions of contribution-matched controls are measured


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """What a sweep scales, by how much, and what it runs.

    - `benchmarks`: NAME or NAME:FILE.
    - `neurons`: named as in `open_neurons`. For a run, `model` and `out` may be left out.
    - `controls`: number of random sets of each of `control_kinds`.
    - `when_risk`: scale only while the detector's running risk is above this probability.
    - `split`: "held_out" or "selection", which says whether anything was tuned on these items.
    - `judge_threshold`: up to this probability of being right the alias judge calls a reply incorrect; None is its own.
    """

    benchmarks: tuple[str, ...]
    neurons: str
    model: str | None = None
    out: Path | None = None
    alphas: tuple[float, ...] = (0, 0.5, 1, 1.5, 2, 2.5, 3)
    controls: int = 5
    control_kinds: tuple[str, ...] = ("layer_matched",)
    limit: int | None = None
    scope: "Scope" = "all"
    when_risk: float | None = None
    max_new_tokens: int | None = None
    split: str = ""
    judge_threshold: float | None = None
    seed: int = 0
    dtype: str = "auto"

    def check(self) -> None:
        """Raise `InputError` for what a sweep cannot do, before anything is loaded."""
        from hneurons.answers.judging import choose_thresholds
        from hneurons.models.precision import choose_dtype

        choose_thresholds("alias", self.judge_threshold)
        if not self.alphas or not all(abs(alpha) <= LARGEST_ALPHA for alpha in self.alphas):
            found = ",".join(f"{alpha:g}" for alpha in self.alphas)
            raise InputError(f"alphas should lie between -{LARGEST_ALPHA:g} and {LARGEST_ALPHA:g}, found {found}")
        check_most("--controls", self.controls, MOST_CONTROLS)
        if self.controls and not self.control_kinds:
            raise InputError("--control-kinds names no kind of random neurons: name one, or give --controls 0")
        if self.split not in SPLITS:
            raise InputError(f"unknown split '{self.split}': known are {', '.join(SPLITS[1:])}")
        if self.when_risk is not None and not 0 <= self.when_risk <= 1:
            raise InputError(f"--when-risk should be a probability from 0 to 1, found {self.when_risk:g}")
        choose_dtype(self.dtype)
        if len({spec.partition(":")[0] for spec in self.benchmarks}) < len(self.benchmarks):
            raise InputError("a benchmark is named twice: name each once, or use two --out folders")


class SweepRun(NamedTuple):
    """Where a sweep lies, and all that its folder holds by now."""

    folder: Path
    sweep: "Sweep"


def run_sweep(
    plan: SweepPlan, *, device: str | None = None, max_rows: int = 64, endpoint: "Endpoint | None" = None
) -> SweepRun:
    """Run every benchmark with the neurons and their controls at every alpha; resumable in the sweep's folder.

    `max_rows` sequences run at a time; `endpoint` serves judges. Raises `InputError` for what `SweepPlan.check`
    refuses, neurons of another model, and a folder that holds another sweep.
    """
    from hneurons.benchmarks import load_items
    from hneurons.benchmarks.results import summarize_run
    from hneurons.benchmarks.runner import run_benchmark
    from hneurons.benchmarks.sweeps import earlier_results, neurons_id, save_sweep
    from hneurons.core.artifacts import package_versions
    from hneurons.models.language_model import load_model
    from hneurons.models.precision import choose_dtype
    from hneurons.neurons.neuron_set import NeuronSet

    plan.check()
    source = find_neurons(plan.neurons)
    model, out = find_places(source, plan)
    loaded = {spec.partition(":")[0]: load_items(spec, limit=plan.limit, seed=plan.seed) for spec in plan.benchmarks}
    _set_threshold([benchmark for benchmark, _ in loaded.values()], plan.judge_threshold, endpoint)
    selected, when = NeuronSet.load(source.folder), _policy(source.folder, plan.when_risk)
    guest = load_model(model, dtype=plan.dtype, device=device)  # type: ignore[arg-type]
    selected.check_model(guest)
    sets = _draw_sets(guest, selected, plan)
    drawn = {name: neurons_id(control) for name, control in sets.items() if control is not selected}
    about: dict[str, Any] = {
        "model": model, "neurons": neurons_id(selected), "size": len(selected), "per_mille": 1000 * selected.share,
        "scope": str(plan.scope), "controls": drawn, "seed": plan.seed, "dtype": choose_dtype(plan.dtype, device),
        "when_risk": plan.when_risk, "versions": package_versions(),
    }  # fmt: skip
    earlier_results(out, about)
    results = {}
    for name, (benchmark, items) in loaded.items():
        run = run_benchmark(
            guest, name, benchmark, items, sets, alphas=plan.alphas, scope=plan.scope, when=when,
            max_new_tokens=plan.max_new_tokens, seed=plan.seed, split=plan.split,
            endpoint=endpoint, max_rows=max_rows, out=out / name,
        )  # fmt: skip
        results[name] = summarize_run(run)
    for label, chosen in sets.items():
        chosen.save(out / "neurons" / label)
    return SweepRun(out, save_sweep(out, results, about))


def read_alphas(text: str) -> tuple[float, ...]:
    """Numbers with commas between them. Raises `InputError` for anything else."""
    try:
        alphas = tuple(float(part) for part in text.split(","))
    except ValueError:
        alphas = ()
    if not alphas or not all(map(math.isfinite, alphas)):
        raise InputError(f"--alpha should be numbers with commas between them, such as 0,0.5,1,2; found '{text}'")
    return alphas


def read_scope(text: str) -> "Scope":
    """all, response, or a number of tokens. Raises `InputError` for anything else."""
    words: dict[str, Scope] = {"all": "all", "response": "response"}
    if text in words:
        return words[text]
    if text.isdecimal() and int(text) >= 1:
        return int(text)
    raise InputError(f"--scope should be all, response or a number of tokens from 1 on, found '{text}'")


def find_places(source: NeuronSource, plan: SweepPlan) -> tuple[str, Path]:
    """Model and folder of a sweep: those of the plan, or else the run's model and a folder in RUN/bench."""
    from hneurons.runs.plan import RunPlan

    model, out = plan.model, plan.out
    if source.run is not None:
        name = str(plan.scope) if plan.when_risk is None else f"{plan.scope}-risk-{plan.when_risk:g}"
        model, out = model or RunPlan.load(source.run).model, out or source.run / "bench" / name
    if model is None or out is None:
        lacking = "--model" if model is None else "--out"
        raise InputError(
            f"{source.folder} is no run, so {lacking} is needed: give it, or the folder of a run as --neurons"
        )
    return model, out


def _set_threshold(benchmarks: "Sequence[Benchmark]", threshold: float | None, endpoint: "Endpoint | None") -> None:
    """Raises `InputError` where a threshold is given and the alias judge grades none of the benchmarks."""
    from hneurons.answers.judging import choose_thresholds
    from hneurons.benchmarks.judged import JudgedBenchmark

    thresholds = choose_thresholds("alias", threshold)
    if thresholds is None:
        return
    judged = [one for one in benchmarks if isinstance(one, JudgedBenchmark) and endpoint is None]
    if not judged:
        raise InputError("--judge-threshold is the alias judge's, which grades none of these benchmarks: leave it out")
    for one in judged:
        one.thresholds = thresholds


def _policy(neurons: Path, when_risk: float | None) -> "RiskAbove | None":
    """When to scale, by the detector that stands beside the neurons."""
    if when_risk is None:
        return None
    from hneurons.detection.detector import open_detector
    from hneurons.interventions.gate import RiskAbove

    return RiskAbove(open_detector(neurons), when_risk)


def _draw_sets(model: "LanguageModel", selected: "NeuronSet", plan: SweepPlan) -> "dict[str, NeuronSet]":
    """The selected neurons and the controls, by name."""
    matched = plan.controls and "contribution_matched" in plan.control_kinds
    contributions = _contributions(model, selected.signal) if matched else None
    return draw_sets(selected, plan.control_kinds, plan.controls, plan.seed, contributions)


def draw_sets(
    selected: "NeuronSet", kinds: Sequence[str], count: int, seed: int, contributions: "NDArray[np.float64] | None"
) -> "dict[str, NeuronSet]":
    """The selected set and `count` controls of each kind, by name."""
    from hneurons.benchmarks.runner import SELECTED
    from hneurons.neurons.controls import draw_control

    sets = {SELECTED: selected}
    for kind in kinds:
        for number in range(count):
            sets[f"random_{kind}_{number}"] = draw_control(
                selected, kind, seed=seed * 1000 + number, contributions=contributions  # type: ignore[arg-type]
            )  # fmt: skip
    return sets


def _contributions(model: "LanguageModel", signal: str) -> "NDArray[np.float64]":
    """Mean signal over built-in questions, the same whatever is run, so that all benchmarks have the same controls."""
    from hneurons.benchmarks import load_items
    from hneurons.models.prompts import alternate, encode_turns
    from hneurons.neurons.controls import mean_contributions

    _, items = load_items("facts", limit=_MATCHED_ON)
    prompts = [encode_turns(model.tokenizer, alternate(item.turns)) for item in items]
    return mean_contributions(model, prompts, signal=signal)
