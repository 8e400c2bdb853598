"""What was seen before it was evaluated: items in the fit, settings chosen on the test split, conditions mixed up."""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from itertools import combinations

import numpy as np

from hneurons.audits.panels import build_panels
from hneurons.audits.results import AUDITS, AuditResult, Collector, percent
from hneurons.audits.verdicts import MARGIN, Verdict
from hneurons.core.stats import Estimate, auroc, bootstrap, wilson
from hneurons.core.wording import interval
from hneurons.records.recorded_run import Run, outcome_runs, rows_of
from hneurons.records.rows import Candidate, NeuronRow, PathPoint, Prediction


@AUDITS.register("leakage")
def audit_leakage(runs: Sequence[Run]) -> AuditResult:
    """In-sample panels, shared items of splits, selection on the test split, identical outputs of two conditions."""
    found = Collector("leakage", runs)
    panels = list(rows_of(runs, Prediction))
    scores = {run.name: _summarise(found, run, rows) for run, rows in panels}
    for (first, ours), (second, theirs) in combinations(panels, 2):
        _compare_panels(found, first, ours, second, theirs)
    _find_selection(found, runs, scores)
    _find_identical(found, outcome_runs(runs))
    _find_twins(found, runs)
    return found.result("predictions, outcomes of several conditions, tuning scores or neuron sets")


def _summarise(found: Collector, run: Run, rows: list[Prediction]) -> tuple[float, int]:
    labels, probability, predicted = _arrays(rows)
    hits = labels == predicted
    accuracy = wilson(int(hits.sum()), len(rows))
    area = bootstrap(lambda index: auroc(labels[index], probability[index]), len(rows), bounds=(0.0, 1.0))
    cuts = np.unique(probability)
    order = np.argsort(probability)
    # Accuracy at every threshold: label 0 below it, label 1 from it on.
    zeros_below = np.concatenate([[0], np.cumsum(labels[order] == 0)])
    ones_below = np.concatenate([[0], np.cumsum(labels[order] == 1)])
    at = np.searchsorted(probability[order], cuts)
    best = float(((zeros_below[at] + labels.sum() - ones_below[at]) / len(rows)).max())
    counts = {
        "tp": int((labels * predicted).sum()), "tn": int(((1 - labels) * (1 - predicted)).sum()),
        "fp": int(((1 - labels) * predicted).sum()), "fn": int((labels * (1 - predicted)).sum()),
    }  # fmt: skip
    repeated = len(rows) - len({row.id for row in rows})
    found.row("detectors", run=run.name, n=len(rows), accuracy=accuracy, auroc=area, best_accuracy=best, **counts)
    found.find(
        run.name, "Every evaluated item counts once", repeated == 0,
        f"{repeated} of {len(rows)} predictions repeat an item. Accuracy {percent(accuracy, 2)}, AUROC {area}.",
        accuracy=accuracy, auroc=area, counts=counts,
    )  # fmt: skip
    share, base = float(predicted.mean()), float(labels.mean())
    surplus = (predicted - labels).astype(np.float64)
    off = bootstrap(lambda index: float(surplus[index].mean()), len(rows), bounds=(-1.0, 1.0))
    found.find(
        run.name, "The detector's threshold fits these items", _fits(off),
        f"It calls {100 * share:.1f} % hallucinated where {100 * base:.1f} % are; accuracy "
        f"{100 * accuracy.value:.1f} % at its threshold, {100 * best:.1f} % at the best one (chosen with hindsight).",
        predicted=share, base=base, surplus=off, best_accuracy=best,
    )  # fmt: skip
    return accuracy.value, len(rows)


def _fits(surplus: Estimate) -> Verdict:
    """Whether as many are called hallucinated as are, within five points."""
    if surplus.low > MARGIN or surplus.high < -MARGIN:
        return "contradicted"
    return "supported" if abs(surplus.value) < MARGIN else "not shown"


def _arrays(rows: Sequence[Prediction]) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    labels = np.array([row.label for row in rows])
    probability = np.array([row.probability for row in rows])
    predicted = np.array([int(row.probability > 0.5) if row.prediction is None else row.prediction for row in rows])
    return labels, probability, predicted


def _compare_panels(
    found: Collector, first: Run, ours: list[Prediction], second: Run, theirs: list[Prediction]
) -> None:
    """Two panels of one detector: does it do better on the items that only one of them has?"""
    shared = {row.id for row in ours} & {row.id for row in theirs}
    if not shared:
        return
    other = {row.id: row for row in theirs}
    same = sum(math.isclose(row.probability, other[row.id].probability) for row in ours if row.id in shared)
    names = f"{first.name}, {second.name}"
    if same < len(shared):
        mine = {row.id: row for row in ours}
        labels = sum(mine[item].label != other[item].label for item in shared)
        found.find(
            names, "Two detectors are compared on the same items", len(shared) == len(ours) == len(theirs),
            f"{len(shared)} items are in both ({len(ours)} and {len(theirs)} in all); {labels} labels differ.",
            shared=len(shared),
        )  # fmt: skip
        return
    larger, run = (ours, first) if len(ours) > len(theirs) else (theirs, second)
    rest = [row for row in larger if row.id not in shared]
    if len(rest) < 20:
        return
    inside = [row for row in larger if row.id in shared]
    areas = [_area(inside), _area(rest)]
    gap = _gap(inside, rest)
    found.find(
        names, f"{run.name} was evaluated on items that were not in the fit",
        "contradicted" if gap.low > 0 else "supported" if gap.high < MARGIN else "not shown",
        f"It is the same detector on both panels (equal probabilities on {same} shared items), but on the {len(rest)} "
        f"items that only {run.name} has its AUROC is {areas[1]:.3f} against {areas[0]:.3f} on the shared ones: "
        f"{interval(gap, sign=True)}. Better on its own items is the mark of items in the fit.",
        shared=areas[0], rest=areas[1], gap=gap,
    )  # fmt: skip


def _area(rows: Sequence[Prediction]) -> float:
    labels, probability, _ = _arrays(rows)
    return auroc(labels, probability)


def _gap(inside: list[Prediction], rest: list[Prediction]) -> Estimate:
    labels, probability, _ = _arrays([*inside, *rest])
    cut = len(inside)

    def gap(index: "np.ndarray") -> float:
        a, b = index[index < cut], index[index >= cut]
        return auroc(labels[b], probability[b]) - auroc(labels[a], probability[a])

    return bootstrap(gap, len(labels), draws=1000, bounds=(-1.0, 1.0))


def _find_selection(found: Collector, runs: Sequence[Run], scores: dict[str, tuple[float, int]]) -> None:
    """A tuning score equal to an evaluation score, to the digits printed, comes from the same items."""
    tried: list[tuple[Run, str, float, int | None]] = []
    for run, candidates in rows_of(runs, Candidate):
        tried.extend((run, row.name, row.score, row.n) for row in candidates)
        best = max(candidates, key=lambda row: row.score)
        found.row("candidates", run=run.name, tried=len(candidates), best=best.name, score=best.score, n=best.n)
    for run, fits in rows_of(runs, PathPoint):
        tried.extend((run, f"penalty {p.penalty:g}", p.accuracy, None) for p in fits if p.accuracy is not None)
    evaluated = dict(scores)
    for run in outcome_runs(runs):
        for name, panel in build_panels(run).items():
            if run.settings.no_op in panel.alphas:
                rate = panel.rate(run.settings.no_op)
                evaluated[f"{run.name}/{name} at the no-op"] = (rate.value, rate.n)
    for source in dict.fromkeys(run.name for run, *_ in tried):
        mine = [(name, score, n) for run, name, score, n in tried if run.name == source]
        matches = [
            (name, target, score) for name, score, n in mine for target, (value, size) in evaluated.items()
            if 0 < score < 1 and _same_printed(score, value) and n in (None, size)
        ]  # fmt: skip
        if not matches:
            continue
        top = max(mine, key=lambda row: row[1])
        targets = sorted({target for _, target, _ in matches})
        distinct = {score: (name, target) for name, target, score in reversed(matches)}
        shown = "; ".join(f"{n} scores {score:g}, as {target} does" for score, (n, target) in distinct.items())
        found.find(
            f"{source}, {', '.join(dict.fromkeys(t.split('/')[0] for t in targets))}",
            f"The settings tried in {source} were not chosen on the evaluated items", False,
            f"{shown} ({len(matches)} such pairs): {len(mine)} settings were scored on the items that are reported. "
            f"The best of them is {top[0]} with {top[1]:g}.", matches=len(matches), best=top[1],
        )  # fmt: skip


def _same_printed(printed: float, value: float) -> bool:
    """Whether `printed` is `value` rounded to as many digits as it shows, at least three."""
    digits = len(f"{printed:.10f}".rstrip("0").split(".")[1])
    return digits >= 3 and abs(value - printed) <= 0.5 * 10**-digits + 1e-9


def _find_identical(found: Collector, runs: Sequence[Run]) -> None:
    """Conditions must coincide at the no-op and nowhere else."""
    for run in runs:
        blocks: dict[Hashable, list[tuple[str, float]]] = defaultdict(list)
        cells: dict[tuple[str, float], list[Hashable]] = defaultdict(list)
        for r in run.records:
            text = r.digest or r.response or r.loglik or r.choice
            cells[(r.condition, r.alpha)].append((r.id, text if text is not None else (r.outcome, r.chars)))
        for cell, rows in cells.items():
            if len(rows) >= 20:
                blocks[frozenset(rows)].append(cell)
        twins = [block for block in blocks.values() if len(block) > 1]
        odd = [b for b in twins if any(alpha != run.settings.no_op for _, alpha in b)]
        together = [b for b in twins if all(alpha == run.settings.no_op for _, alpha in b)]
        if len(cells) < 2:
            continue
        found.find(
            run.name, "No two conditions have identical outputs away from the no-op", not odd,
            f"{len(cells)} blocks (condition, alpha) compared; {len(odd)} groups of identical blocks away from the "
            f"no-op{': ' + '; '.join(_names(b) for b in odd[:4]) if odd else ''}, {len(together)} at it.",
            identical=[_names(b) for b in odd],
        )  # fmt: skip
        elsewhere = {alpha for block in odd for _, alpha in block}
        if len(elsewhere) == 1 and not together and len({name for name, _ in cells}) > 1:
            found.find(
                run.name, f"The declared no-op (alpha {run.settings.no_op:g}) is the no-op", False,
                f"Conditions coincide at alpha {elsewhere.pop():g}, not at {run.settings.no_op:g}.",
            )  # fmt: skip
    _match_no_ops(found, runs)


def _names(block: list[tuple[str, float]]) -> str:
    return " = ".join(f"{name} at {alpha:g}" for name, alpha in block[:6])


def _match_no_ops(found: Collector, runs: Sequence[Run]) -> None:
    """Across runs of one benchmark: the block that equals another run's no-op is a no-op, whatever it is called."""
    baselines: dict[Hashable, tuple[Run, str, float]] = {}
    wrong: list[str] = []
    matched: set[str] = set()
    for chosen in (True, False):
        for run in runs:
            for (name, alpha), rows in _loglik_blocks(run).items():
                is_no_op = alpha == run.settings.no_op
                if chosen and is_no_op:
                    baselines.setdefault(rows, (run, name, alpha))
                elif not chosen and rows in baselines and not is_no_op:
                    wrong.append(f"{run.name}/{name} at {alpha:g} equals the no-op of {baselines[rows][0].name}")
                elif not chosen and rows in baselines and baselines[rows][0] is not run:
                    matched.update((run.name, baselines[rows][0].name))
    if matched or wrong:
        found.find(
            ", ".join(sorted(matched)) or runs[0].name,
            "Runs that share a baseline call the same alpha the no-op",
            not wrong,
            "; ".join(wrong) or "The no-op rows of these runs are identical, though alpha may be scaled differently: "
            + ", ".join(f"{r.name} at {r.settings.no_op:g}" for r in runs if r.name in matched) + ".",
        )  # fmt: skip


def _loglik_blocks(run: Run) -> dict[tuple[str, float], Hashable]:
    cells: dict[tuple[str, float], list[Hashable]] = defaultdict(list)
    for r in run.records:
        text = r.loglik or r.response or r.digest
        if text is not None:
            cells[(r.condition, r.alpha)].append((r.id, text))
    return {cell: frozenset(rows) for cell, rows in cells.items() if len(rows) >= 20}


def _find_twins(found: Collector, runs: Sequence[Run]) -> None:
    """Neuron or head rankings stored under two names, and scores too good to be of unseen items."""
    for run, rows in rows_of(runs, NeuronRow):
        sets: dict[Hashable, list[str]] = defaultdict(list)
        for name in dict.fromkeys(row.condition for row in rows):
            members = [(r.layer, r.neuron, r.auroc, r.weight, r.truth_d) for r in rows if r.condition == name]
            sets[frozenset(members)].append(name)
        twins = [names for names in sets.values() if len(names) > 1]
        if len(sets) > 1 or twins:
            found.find(
                run.name, "Sets with different names are different sets", not twins,
                f"{sum(map(len, sets.values()))} sets; identical: {'; '.join(' = '.join(t) for t in twins) or 'none'}.",
            )  # fmt: skip
        perfect = sorted({r.condition for r in rows if r.auroc is not None and r.auroc > 0.99})
        if any(row.auroc is not None for row in rows):
            best = max(row.auroc for row in rows if row.auroc is not None)
            found.find(
                run.name, "No single unit separates the classes perfectly", not perfect,
                f"Highest AUROC of one unit {best:.4f}" 
                + (f" in {', '.join(perfect)}: the label is in its input." if perfect else "."),
                best=best, sets=perfect,
            )  # fmt: skip
