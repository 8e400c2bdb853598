"""The page about a sweep: one figure and table a benchmark, rates against alpha with the random sets as a band."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hneurons.benchmarks.results import BenchmarkResult
from hneurons.benchmarks.sweeps import RESULTS, load_sweep
from hneurons.report.figures import BAND, FRONT, INK, SOFT, plot_figure
from hneurons.report.flipped import find_flips
from hneurons.report.page import words, write_page
from hneurons.report.sweep_findings import (
    describe_judge,
    describe_sweep,
    judge_sweep,
    list_sweep_caveats,
    state_sweep,
    warn_of_truncation,
)


def draw_sweep(result: BenchmarkResult, *, place: str = "") -> str:
    """Rate against alpha as in arXiv 2512.01797, figure 3: selected with 95% bars, controls as band of their range.

    Each kind of control has a panel of its own.
    """
    selected, kinds = result.selected, [one.kind for one in result.against]
    alphas = [at.alpha for at in selected.alphas]
    height = 3.0 if len(kinds) < 2 else 2.2 * len(kinds) + 0.6
    values = np.array([100 * at.rate.value for at in selected.alphas])
    # At rates of 0 and 1 rounding can put the rate a hair outside its own interval.
    bars = np.array([[max(at.rate.value - at.rate.low, 0.0), max(at.rate.high - at.rate.value, 0.0)]
                     for at in selected.alphas]).T * 100  # fmt: skip
    with plot_figure(f"{place or result.benchmark}: {result.outcome}".strip(), height, rows=max(1, len(kinds))) as plot:
        for number, axes in enumerate(plot.axes):
            if kinds:
                controls = result.controls(kinds[number])
                rates = 100 * np.array([[at.rate.value for at in c.alphas] for c in controls])
                axes.fill_between(
                    alphas, rates.min(axis=0), rates.max(axis=0), color=BAND, alpha=0.7, linewidth=0,
                    label=f"range of {len(controls)} random sets" if len(kinds) < 2 else "range of the random sets",
                )  # fmt: skip
                axes.plot(alphas, rates.mean(axis=0), color=SOFT, linewidth=1, linestyle="--", label="their mean")
            axes.errorbar(
                alphas, values, yerr=bars, marker="D", color=FRONT, markersize=5, linewidth=1.8, capsize=2.5,
                elinewidth=1, label="H-neurons (95%)",
            )  # fmt: skip
            axes.axvline(1, color=INK, linewidth=0.8, linestyle=":")
            axes.set(ylabel=f"{result.outcome} (%)")
            axes.set_xticks(alphas, [f"{alpha:g}" for alpha in alphas])
            if len(kinds) > 1:
                axes.set_title(f"beside {len(controls)} {words(kinds[number])} sets", fontsize=10, loc="left")
        limits = [axes.get_ylim() for axes in plot.axes]
        for axes in plot.axes:
            axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        axes.set(xlabel="alpha (1 = the model as it is)")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3)
        return plot.svg()


def draw_forest(results: Mapping[str, BenchmarkResult], *, place: str = "") -> str:
    """The slope of every benchmark with its 95% interval, the random sets' slopes as a band; empty for a single one."""
    shown = {n: r for n, r in results.items() if math.isfinite(r.selected.slope.value)}
    if len(shown) < 2:
        return ""
    with plot_figure(f"{place} slopes of all benchmarks".strip(), 0.9 + 0.34 * len(shown)) as plot:
        axes = plot.axes[0]
        for number, result in enumerate(shown.values()):
            slope = result.selected.slope
            slopes = [100 * c.slope.value for c in result.conditions if c is not result.selected]
            drawn = [value for value in slopes if math.isfinite(value)]
            if drawn:
                axes.plot([min(drawn), max(drawn)], [number] * 2, color=BAND, linewidth=9, solid_capstyle="butt")
            axes.plot([100 * slope.low, 100 * slope.high], [number] * 2, color=FRONT, linewidth=1.6)
            axes.plot(100 * slope.value, number, "D", color=FRONT, markersize=5)
        axes.axvline(0, color=SOFT, linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(shown)), [f"{name}: {result.outcome}" for name, result in shown.items()])
        axes.set(xlabel="slope, pp per unit of alpha", ylim=(len(shown) - 0.4, -0.6))
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        return plot.svg()


def write_bench_report(results: Mapping[str, BenchmarkResult], about: Mapping[str, Any], path: Path) -> Path:
    """Write the self-contained page into a sweep's folder, from whose records it shows replies that flipped.

    Raises `MissingExtraError` without the report extra, `ArtifactError` where records are damaged.
    """
    values = {
        "about": about,
        "verdict": state_sweep(results),
        "forest": draw_forest(results),
        "sections": sweep_sections(results, {name: path.parent / name for name in results}),
        "caveats": list_sweep_caveats(results),
    }
    return write_page(path, "bench.html", values)


def sweep_sections(
    results: Mapping[str, BenchmarkResult], folders: Mapping[str, Path], *, place: str = ""
) -> list[dict[str, Any]]:
    """One benchmark after the other for the templates; `place` keeps drawings of several sweeps on a page apart."""
    return [
        {
            "name": name,
            "warnings": warn_of_truncation(result),
            "flips": find_flips(folders[name], result),
            "result": result,
            "figure": draw_sweep(result, place=f"{place} {name}"),
            "reading": judge_sweep(result),
            "said": [*describe_sweep(result), *filter(None, [describe_judge(result)])],
        }
        for name, result in results.items()
    ]


def run_sweeps(folder: Path, present: str) -> list[dict[str, Any]]:
    """Every sweep in a run's `bench` folder, for its page; folders that differ in their benchmarks alone are one.

    `present` is the `neurons_id` of the run's detector: sweeps of other neurons are marked `outdated` and come last.
    Raises `ArtifactError` where one is damaged.
    """
    groups: dict[str, tuple[list[str], dict[str, Any], dict[str, BenchmarkResult]]] = {}
    folders: dict[str, dict[str, Path]] = {}
    for path in sorted((folder / "bench").glob(f"*/{RESULTS}")):
        about, results = load_sweep(path.parent)
        same = json.dumps({k: v for k, v in about.items() if k != "versions"}, sort_keys=True)
        places, _, gathered = groups.setdefault(same, ([], about, {}))
        places.append(path.parent.name)
        named = {name if name not in gathered else f"{name} ({places[-1]})": name for name in results}
        gathered |= {shown: results[name] for shown, name in named.items()}
        folders.setdefault(same, {}).update({shown: path.parent / name for shown, name in named.items()})
    sweeps = [
        {"place": ", ".join(places), "about": about, "outdated": about.get("neurons") != present,
         "caveats": list_sweep_caveats(gathered), "forest": draw_forest(gathered, place=places[0]),
         "sections": sweep_sections(gathered, folders[same], place=places[0])}
        for same, (places, about, gathered) in groups.items()
    ]  # fmt: skip
    return sorted(sweeps, key=lambda sweep: bool(sweep["outdated"]))
