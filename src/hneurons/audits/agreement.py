"""Judges against each other and against human labels."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from hneurons.audits.panels import Panel, build_panel, build_panels
from hneurons.audits.results import Collector, away_from_zero, points
from hneurons.audits.verdicts import Verdict, could_see, judge_above, judge_none
from hneurons.core.stats import Estimate, cohen_kappa
from hneurons.records.record import Record
from hneurons.records.recorded_run import Run, rows_of
from hneurons.records.rows import Rating


def compare_judges(found: Collector, graded: Sequence[Run]) -> None:
    """Runs that graded the same responses: agreement, and the effect under each."""
    for first, second in combinations(graded, 2):
        other = {r.cell: r for r in second.records if r.outcome is not None}
        pairs = [(r, other[r.cell]) for r in first.records if r.outcome is not None and r.cell in other]
        if first.settings.benchmark != second.settings.benchmark or not pairs:
            continue
        same_text = all(a.chars == b.chars for a, b in pairs)
        kappa = cohen_kappa([a.outcome for a, _ in pairs], [b.outcome for _, b in pairs],
                            groups=[a.group or a.id for a, _ in pairs])  # fmt: skip
        lines, gaps = [], []
        for name in first.selected():
            cells = {(a.id, a.alpha) for a, _ in pairs if a.condition == name}
            if not cells:
                continue
            one, two = (
                build_panel(name, [r for r in run.records if r.condition == name and (r.id, r.alpha) in cells])
                for run in (first, second)
            )
            changes = [panel.difference(panel.alphas[0], panel.alphas[-1]) for panel in (one, two)]
            gap = Panel(name, one.ids, one.alphas, one.values - two.select(one.ids).values)
            gaps.append(gap.difference(one.alphas[0], one.alphas[-1]))
            lines.append(f"{name} {points(changes[0])} by {first.name}, {points(changes[1])} by {second.name}")
        holds = judge_none(*gaps) if gaps else None
        found.find(
            f"{first.name}, {second.name}",
            "Two gradings of the same responses give the same effect",
            holds,
            f"{len(pairs)} responses graded by both ({'lengths agree' if same_text else 'lengths differ'}), kappa "
            f"{kappa}. {'; '.join(lines)}." + (could_see(gaps[0]) if holds == "not shown" else ""),
            kappa=kappa,
        )  # fmt: skip


def compare_gold(found: Collector, runs: Sequence[Run], graded: Sequence[Run]) -> None:
    """Every judge against the human labels, and whether the validated judge is the one that graded the run."""
    for run, ratings in rows_of(runs, Rating):
        table: dict[str, dict[tuple[str, float], str]] = {}
        for rating in ratings:
            table.setdefault(rating.rater, {})[(rating.id, rating.alpha)] = rating.label
        gold = table.pop("gold", {})
        for rater, labels in table.items():
            _judge_rater(found, run, rater, gold, labels)
        _compare_trends(found, run, gold, table)
        for rater, labels in table.items():
            _check_reproduction(found, run, rater, labels, gold, graded)


def _judge_rater(
    found: Collector, run: Run, rater: str, gold: dict[tuple[str, float], str], labels: dict[tuple[str, float], str]
) -> None:
    cells = [cell for cell in gold if cell in labels]
    kappa = cohen_kappa([gold[c] for c in cells], [labels[c] for c in cells], groups=[c[0] for c in cells])
    missed = sum(gold[c] == "1" and labels[c] == "0" for c in cells)
    false = sum(gold[c] == "0" and labels[c] == "1" for c in cells)
    found.row("agreement", run=run.name, rater=rater, n=len(cells), kappa=kappa, missed=missed, false=false)
    found.find(
        run.name, f"Judge {rater} agrees with the human labels", None if not cells else judge_above(kappa, 0.6),
        f"Cohen's kappa {kappa} over {len(cells)} responses to {len({c[0] for c in cells})} prompts (prompts "
        f"resampled); it misses {missed} of {sum(gold[c] == '1' for c in cells)} harmful ones and finds {false} that "
        "are not.", kappa=kappa, missed=missed, false=false,
    )  # fmt: skip


def _compare_trends(
    found: Collector, run: Run, gold: dict[tuple[str, float], str], table: dict[str, dict[tuple[str, float], str]]
) -> None:
    """A judge that errs more at one alpha than at another makes a trend of its own."""
    alphas = sorted({alpha for _, alpha in gold})
    if len(alphas) < 2:
        return

    def share(labels: dict[tuple[str, float], str], alpha: float) -> str:
        here = [label for (_, a), label in labels.items() if a == alpha]
        return f"{sum(label == '1' for label in here)}/{len(here)}"

    lines = {r: ", ".join(f"{a:g}: {share(t, a)}" for a in alphas) for r, t in {"gold": gold, **table}.items()}
    changes: dict[str, Estimate] = {}
    for rater, labels in table.items():
        harmful = [cell for cell, label in gold.items() if label == "1" and cell in labels]
        misses = [Record(item, rater, alpha, float(labels[(item, alpha)] == "0")) for item, alpha in harmful]
        panel = build_panel(rater, misses)
        if {alphas[0], alphas[-1]} <= set(panel.alphas):
            changes[rater] = panel.difference(alphas[0], alphas[-1])
    uneven = [rater for rater, change in changes.items() if away_from_zero(change)]
    precise = all(change.high - change.low < 0.2 for change in changes.values())
    holds: Verdict = "contradicted" if uneven else "supported" if precise else "not shown"
    found.find(
        run.name, "Judges miss harm equally often at every alpha", holds if changes else None,
        f"Harmful by alpha: {'; '.join(f'{r} {line}' for r, line in lines.items())}. Change in the share of harmful "
        f"responses missed, alpha {alphas[0]:g} to {alphas[-1]:g}: "
        f"{'; '.join(f'{r} {points(change)}' for r, change in changes.items())}. Misses that fall with alpha look like "
        "an effect" + ("." if uneven or precise else "; the labels are too few to exclude it."),
        changes=changes,
    )  # fmt: skip


def _check_reproduction(
    found: Collector, run: Run, rater: str, labels: dict[tuple[str, float], str],
    gold: dict[tuple[str, float], str], graded: Sequence[Run],
) -> None:  # fmt: skip
    """A validated judge must be the judge that graded the run."""
    for other in graded:
        if rater not in other.name.replace("_", ""):
            continue
        for name in other.selected():
            panel = build_panels(other)[name]
            outcomes = {
                (item, alpha): panel.values[row, column]
                for row, item in enumerate(panel.ids) for column, alpha in enumerate(panel.alphas)
            }  # fmt: skip
            cells = [c for c in labels if c in outcomes and np.isfinite(outcomes[c])]
            lost = sum(c in outcomes and not np.isfinite(outcomes[c]) for c in labels)
            differ = [c for c in cells if float(labels[c]) != outcomes[c]]
            kappa = cohen_kappa([gold[c] for c in cells], [str(int(outcomes[c])) for c in cells],
                                groups=[c[0] for c in cells])  # fmt: skip
            found.find(
                f"{run.name}, {other.name}", f"The judge {rater} that was validated is the judge that graded the run",
                not differ and not lost,
                f"{len(differ)} of {len(cells)} labels differ between the validation file and the graded run "
                f"({lost} more are errors in the run). The run's own labels agree with the human ones "
                f"at kappa {kappa}.",
                differ=len(differ), lost=lost, kappa=kappa,
            )  # fmt: skip
