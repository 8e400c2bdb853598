"""The page about a sweep: one figure and table a benchmark, rates against alpha with the random sets as a band."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hneurons.benchmarks.results import RESULTS, BenchmarkResult, load_sweep
from hneurons.core.artifacts import write_atomic
from hneurons.core.errors import MissingExtraError
from hneurons.report.figures import BAND, FRONT, INK, SOFT, _plot
from hneurons.report.sweep_findings import describe_sweep, interval, judge_sweep, list_sweep_caveats, percent


def draw_sweep(result: BenchmarkResult, *, place: str = "") -> str:
    """Rate against alpha as in arXiv 2512.01797, figure 3: selected with 95% bars, controls as band of their range."""
    selected = result.selected
    alphas = [at.alpha for at in selected.alphas]
    controls = [c for c in result.conditions if c.kind.startswith("random")]
    with _plot(f"{place or result.benchmark}: {result.outcome}".strip(), 3.0) as plot:
        axes = plot.axes[0]
        if controls:
            rates = 100 * np.array([[at.rate.value for at in c.alphas] for c in controls])
            axes.fill_between(
                alphas, rates.min(axis=0), rates.max(axis=0), color=BAND, alpha=0.7, linewidth=0,
                label=f"range of {len(controls)} random sets",
            )  # fmt: skip
            axes.plot(alphas, rates.mean(axis=0), color=SOFT, linewidth=1, linestyle="--", label="their mean")
        values = np.array([100 * at.rate.value for at in selected.alphas])
        # At rates of 0 and 1 rounding can put the rate a hair outside its own interval.
        bars = np.array([[max(at.rate.value - at.rate.low, 0.0), max(at.rate.high - at.rate.value, 0.0)]
                         for at in selected.alphas]).T * 100  # fmt: skip
        axes.errorbar(
            alphas, values, yerr=bars, marker="D", color=FRONT, markersize=5, linewidth=1.8, capsize=2.5,
            elinewidth=1, label="H-neurons",
        )  # fmt: skip
        axes.axvline(1, color=INK, linewidth=0.8, linestyle=":")
        axes.set(xlabel="alpha (1 = the model as it is)", ylabel=f"{result.outcome} (%)")
        axes.set_xticks(alphas, [f"{alpha:g}" for alpha in alphas])
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3)
        return plot.svg()


def write_bench_report(results: Mapping[str, BenchmarkResult], about: Mapping[str, Any], path: Path) -> Path:
    """Write the self-contained page; no reply is shown. Raises `MissingExtraError` without the report extra."""
    try:
        from jinja2 import Environment, FileSystemLoader
    except ImportError as error:
        raise MissingExtraError("jinja2", "report", "writing a report") from error
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    add_filters(environment)
    page = environment.get_template("bench.html").render(
        about=about, sections=sweep_sections(results), caveats=list_sweep_caveats(results)
    )
    write_atomic(path, page)
    return path


def add_filters(environment: Any) -> None:
    """What the templates of a sweep need in a jinja2 environment."""
    environment.filters["percent"], environment.filters["interval"] = percent, interval


def sweep_sections(results: Mapping[str, BenchmarkResult], *, place: str = "") -> list[dict[str, Any]]:
    """One benchmark after the other for the templates; `place` keeps drawings of several sweeps on a page apart."""
    return [
        {
            "name": name,
            "result": result,
            "figure": draw_sweep(result, place=f"{place} {name}"),
            "reading": judge_sweep(result),
            "said": describe_sweep(result),
        }
        for name, result in results.items()
    ]


def run_sweeps(folder: Path) -> list[dict[str, Any]]:
    """Every sweep in a run's `bench` folder, for its page; folders that differ in their benchmarks alone are one.

    Raises `ArtifactError` where one is damaged.
    """
    groups: dict[str, tuple[list[str], dict[str, Any], dict[str, BenchmarkResult]]] = {}
    for path in sorted((folder / "bench").glob(f"*/{RESULTS}")):
        about, results = load_sweep(path.parent)
        same = json.dumps({k: v for k, v in about.items() if k != "versions"}, sort_keys=True)
        places, _, gathered = groups.setdefault(same, ([], about, {}))
        places.append(path.parent.name)
        gathered |= {name if name not in gathered else f"{name} ({places[-1]})": r for name, r in results.items()}
    return [
        {"place": ", ".join(places), "about": about, "caveats": list_sweep_caveats(gathered),
         "sections": sweep_sections(gathered, place=places[0])}
        for places, about, gathered in groups.values()
    ]  # fmt: skip
