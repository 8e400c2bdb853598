"""How far the scaled neurons write along the refusal direction, and whether that explains what happens to items.

The direction is a difference of means between harmful and harmless instructions (Arditi et al. 2024). The recorded
part needs layer, item and null overlaps; `hneurons.mechanism.refusal_overlap` measures them on a live model.
"""

from collections.abc import Sequence

import numpy as np

from hneurons.audits.results import AUDITS, AuditResult, Collector, Figure, Series
from hneurons.audits.verdicts import CHANCE, Verdict
from hneurons.core.stats import Estimate, Floats, bootstrap
from hneurons.core.wording import interval, number
from hneurons.records.recorded_run import Run, rows_of
from hneurons.records.rows import ItemOverlap, LayerOverlap, NullOverlap

_TIE_DIGITS = 9
_DOMINANT = 10.0
_TELLING = 0.3


def rank_correlation(first: Floats, second: Floats, *, digits: int | None = _TIE_DIGITS) -> float:
    """Spearman's rho with exact ties: values equal to `digits` decimals are equal. None compares them as stored.

    A slope of -2e-16 where others have 0 is rounding error, yet it breaks a tie and moves the rank of every item in it.
    """
    from scipy.stats import rankdata

    if digits is not None:
        first, second = np.round(first, digits) + 0.0, np.round(second, digits) + 0.0
    a, b = rankdata(first), rankdata(second)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / scale) if scale else float("nan")


@AUDITS.register("geometry")
def audit_geometry(runs: Sequence[Run]) -> AuditResult:
    """Overlap with the refusal direction by layer against random sets, and its correlation with item effects."""
    found = Collector("geometry", runs)
    nulls = [row for _, rows in rows_of(runs, NullOverlap) for row in rows]
    layers = [row for _, rows in rows_of(runs, LayerOverlap) for row in rows if row.n_neurons > 0]
    for run, rows in rows_of(runs, LayerOverlap):
        _audit_layers(found, run, rows)
    for run, items in rows_of(runs, ItemOverlap):
        _audit_overlap(found, run, items, nulls)
        if len(layers) > 1:
            _leave_one_out(found, run, items, layers)
        for benchmark in dict.fromkeys(item.benchmark for item in items):
            _audit_correlation(found, run, benchmark, [item for item in items if item.benchmark == benchmark])
    return found.result("overlaps with the refusal direction")


def _audit_layers(found: Collector, run: Run, layers: list[LayerOverlap]) -> None:
    used = [row for row in layers if row.n_neurons > 0]
    gaps = {row.layer: row.subspace - row.subspace_null_mean for row in used}
    for row in used:
        found.row(
            "layers", run=run.name, layer=row.layer, neurons=row.n_neurons, signed_cosine=row.signed_cosine,
            subspace=row.subspace, gap=gaps[row.layer], above_null_p95=row.subspace > row.subspace_null_p95,
        )  # fmt: skip
    order = sorted(used, key=lambda row: -abs(gaps[row.layer]))
    figure = f"layers:{run.name}"
    xs = tuple(float(row.layer) for row in used)
    found.figures[figure] = Figure(
        f"{run.name}: overlap by layer", "layer", "subspace share minus null",
        (Series("selected neurons", xs, tuple(gaps[row.layer] for row in used)),), "bars",
    )  # fmt: skip
    if len(order) < 2:
        return
    top, second = order[:2]
    ratio = abs(gaps[top.layer] / gaps[second.layer]) if gaps[second.layer] else float("inf")
    total = sum(gap for gap in gaps.values() if gap > 0)
    found.find(
        run.name, "The overlap is spread over layers", ratio < _DOMINANT,
        f"Layer {top.layer} exceeds its random sets by {gaps[top.layer]:.4f}, the next (layer {second.layer}) by "
        f"{gaps[second.layer]:.4f}: {ratio:.1f} times. It has {top.n_neurons} of the "
        f"{sum(row.n_neurons for row in used)} neurons"
        + (f" and {100 * gaps[top.layer] / total:.0f} % of the summed excess." if gaps[top.layer] > 0 else "."),
        figure=figure, top=top.layer, ratio=ratio,
    )  # fmt: skip
    above = [row.layer for row in used if row.subspace > row.subspace_null_p95]
    found.find(
        run.name, "Most layers overlap more than layer-matched random sets", len(above) > len(used) / 2,
        f"{len(above)} of {len(used)} layers with selected neurons exceed the 95th percentile of their random sets "
        f"(about {0.05 * len(used):.0f} would by chance): {above}.", figure=figure, above=above,
    )  # fmt: skip


def _audit_overlap(found: Collector, run: Run, items: list[ItemOverlap], nulls: list[NullOverlap]) -> None:
    for name in ("signed_cosine", "subspace"):
        values = np.array([getattr(item, name) for item in items])
        null = np.array([getattr(row, name) for row in nulls])
        mean = bootstrap(
            lambda index, values=values: float(values[index].mean()),  # type: ignore[misc]
            len(values),
            bounds=(-1.0, 1.0),
        )
        found.row("overlap", run=run.name, measure=name, mean=mean, null_mean=null.mean() if len(null) else None)
        if not len(null):
            continue
        centre = null.mean()
        p = (1 + int((np.abs(null - centre) >= abs(mean.value - centre)).sum())) / (1 + len(null))
        found.find(
            run.name, f"The {name.replace('_', ' ')} differs from that of layer-matched random sets",
            "supported" if p < CHANCE else "not shown",
            f"Mean {interval(mean, 4, sign=True)} over {mean.n} prompts; {len(null)} random sets "
            f"{number(centre, 4, sign=True)} on average, from {null.min():.4f} to {null.max():.4f}; p = {p:.3f}.",
            mean=mean, null=float(centre), p=p,
        )  # fmt: skip


def _leave_one_out(found: Collector, run: Run, items: list[ItemOverlap], layers: list[LayerOverlap]) -> None:
    """What is left of the overlap, and of its correlation with the effects, without each layer."""
    for k, name in enumerate(("signed_cosine", "subspace")):
        parts, whole = np.mean([getattr(r, name) for r in layers]), np.mean([getattr(item, name) for item in items])
        found.find(
            run.name, f"The {name.replace('_', ' ')} by layer adds up to the one by prompt",
            bool(abs(parts - whole) < 0.02 * abs(whole) + 1e-6),
            f"Mean over {len(layers)} layers {number(parts, 4, sign=True)}, over {len(items)} prompts "
            f"{number(whole, 4, sign=True)}.",
        )  # fmt: skip
        claim = f"The {name.replace('_', ' ')} does not hang on one layer"
        known = [item for item in items if item.layers]
        top = max(layers, key=lambda r: r.subspace - r.subspace_null_mean)
        if not known:
            rest = np.mean([r.subspace - r.subspace_null_mean for r in layers if r is not top])
            found.find(
                run.name, claim, None,
                "Leaving a layer out of each prompt's overlap needs the overlap of every prompt in every layer, which "
                f"is not recorded. Without layer {top.layer} the layers' mean excess of subspace share is {rest:.4f}.",
            )  # fmt: skip
            continue
        names = [str(row.layer) for row in layers]
        table = np.array([[(item.layers or {})[layer][k] for layer in names] for item in known], dtype=np.float64)
        effect = np.array([np.nan if item.effect is None else item.effect for item in known])
        has = np.isfinite(effect)
        full = float(table.mean())
        means = {}
        for place, layer in enumerate(names):
            left = np.delete(table, place, axis=1).mean(axis=1)
            rho = rank_correlation(left[has], effect[has]) if has.sum() >= 10 else None
            means[layer] = float(left.mean())
            found.row("leave_one_layer_out", run=run.name, measure=name, without=int(layer), mean=means[layer], rho=rho)
        worst = max(means, key=lambda layer: abs(means[layer] - full))
        found.find(
            run.name, claim, bool(full * means[worst] > 0 and abs(means[worst]) > 0.5 * abs(full)),
            f"Mean {number(full, 4, sign=True)} over {len(names)} layers; without layer {worst}, the one "
            "that matters most, "
            f"{number(means[worst], 4, sign=True)}.", full=full, without=means,
        )  # fmt: skip


def _audit_correlation(found: Collector, run: Run, benchmark: str, items: list[ItemOverlap]) -> None:
    known = [item for item in items if item.effect is not None]
    if len(known) < 10:
        return
    effect = np.array([item.effect for item in known], dtype=np.float64)
    broken = int(((effect != 0) & (np.abs(effect) < 10.0**-_TIE_DIGITS)).sum())
    stored, exact = len(np.unique(effect)), len(np.unique(np.round(effect, _TIE_DIGITS) + 0.0))
    zeros = int((np.round(effect, _TIE_DIGITS) == 0).sum())
    for name in ("signed_cosine", "subspace"):
        overlap = np.array([getattr(item, name) for item in known])
        raw, rho = rank_correlation(overlap, effect, digits=None), _ranked(overlap, effect)
        groups = _within_groups(known, overlap, effect)
        found.row("correlations", run=run.name, benchmark=benchmark, measure=name, as_stored=raw, exact_ties=rho,
                  within_groups=groups)  # fmt: skip
        found.find(
            run.name, f"{name.replace('_', ' ')} explains which items of {benchmark} change", _explains(rho),
            f"Spearman's rho {rho} with exact ties ({raw:.4f} as stored): {100 * rho.value**2:.1f} % of the rank "
            f"variance, and {zeros} of {len(known)} items do not change at all. By group: {groups or 'no groups'}.",
            rho=rho, as_stored=raw, groups=groups,
        )  # fmt: skip
    found.find(
        run.name, f"Equal effects of {benchmark} are stored as equal numbers", stored == exact,
        f"{stored} stored values stand for {exact} different ones; {broken} items carry rounding error (below 1e-9) "
        f"instead of 0, which breaks a tie of {zeros} items.", broken=broken, stored=stored, exact=exact,
    )  # fmt: skip


def _explains(rho: Estimate) -> Verdict:
    """A correlation explains little wherever its whole interval lies within 0.3 of 0."""
    if abs(rho.value) > _TELLING and (rho.low > 0 or rho.high < 0):
        return "supported"
    return "contradicted" if max(abs(rho.low), abs(rho.high)) < _TELLING else "not shown"


def _ranked(overlap: Floats, effect: Floats) -> Estimate:
    return bootstrap(
        lambda index: rank_correlation(overlap[index], effect[index]), len(effect), draws=1000, bounds=(-1.0, 1.0)
    )


def _within_groups(items: list[ItemOverlap], overlap: Floats, effect: Floats) -> dict[str, float]:
    """Rho inside each group (prompt template): a correlation that only one of them carries is no general one."""
    found = {}
    for group in sorted({item.group for item in items if item.group is not None}):
        mask = np.array([item.group == group for item in items])
        if mask.sum() >= 20:
            found[group] = round(rank_correlation(overlap[mask], effect[mask]), 3)
    return found
