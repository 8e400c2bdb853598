"""What a sweep of alphas shows and what it does not, as sentences made from the numbers alone."""

import math
from collections.abc import Callable, Iterable, Mapping

from hneurons.benchmarks.results import AgainstControls, AlphaResult, BenchmarkResult
from hneurons.core.missing import Bounds
from hneurons.core.stats import Estimate, mcnemar_exact, wilson
from hneurons.core.wording import count, listing, number, percent, points
from hneurons.report.page import words

INERT = "copying"
_ROUNDING = 1e-9
_EDGE = 0.05  # a rate this near 0 or 1 can hardly move that way
_FEW_GROUPS = 10  # below so many, intervals of resampled groups are known to be too narrow
_CUT = 0.05  # share of replies cut off that is worth a warning
_CHANCE = 0.05  # what an exact test of the items that change must come below
_OPEN = 0.2  # a control that may have fallen further unseen shows no damage


def sign(estimate: Estimate) -> int:
    """1 or -1 where the whole interval lies above or below 0 by more than rounding, else 0."""
    return int(estimate.low > _ROUNDING) - int(estimate.high < -_ROUNDING)


def judge_sweep(result: BenchmarkResult) -> str:
    """Whether the rate moves with alpha, and more than with random neurons; a null result in as many words."""
    moves = bool(sign(result.selected.slope))
    return _judge_trend(result) + (_undone(result) if moves else "")


def state_sweep(results: Mapping[str, BenchmarkResult]) -> str:
    """What all benchmarks show together, in one sentence."""
    moved = [name for name, result in results.items() if sign(result.selected.slope)]
    if not moved:
        return f"No trend with alpha can be told from chance in any of {count(len(results), 'benchmark')}."
    beyond = [
        name
        for name in moved
        if (known := _comparable(results[name]))
        and all(sign(one.slope_above_controls) == sign(results[name].selected.slope) for one in known)
    ]
    told = f"Alpha moves {listing(moved)} ({len(moved)} of {count(len(results), 'benchmark')})"
    if not any(result.against for result in results.values()):
        return f"{told}; no random neurons were scaled beside them."
    return f"{told}; {listing(beyond) if beyond else 'none'} more than the mean of random neurons."


def warn_of_truncation(result: BenchmarkResult) -> str:
    """A warning where many replies were cut off at some alpha; else empty."""
    worst = max(result.selected.alphas, key=lambda at: at.truncated)
    if worst.truncated <= _CUT * result.items:
        return ""
    return (
        f"Up to {worst.truncated} of {result.items} replies (at alpha {worst.alpha:g}) were cut off at "
        f"{result.max_tokens} tokens: what would have followed was not graded. Raise --max-new-tokens to see it."
    )


def _judge_trend(result: BenchmarkResult) -> str:
    slope = result.selected.slope
    if len(result.selected.alphas) == 1:
        return "Only alpha = 1 was run, so nothing can be said about a trend."
    if not math.isfinite(slope.value):
        return "No item was scored at every alpha, so nothing can be said about a trend."
    base = f"{points(slope)} pp per unit of alpha"
    if slope.n < result.items:
        base += f" over the {slope.n} of {result.items} items scored at every alpha"
    if not sign(slope):
        return f"No trend can be told from chance: {base}{_despite(result)}."
    said = f"The rate {'rises' if sign(slope) > 0 else 'falls'} ({base})"
    if not result.against:
        return f"{said}. No random neurons were scaled, so this may be what scaling any neurons does."
    known = _comparable(result)
    if not known:
        return f"{said}. No item was scored under every random set, so the two cannot be compared."
    compared = ", ".join(_place(result, one) for one in result.against)
    directions = {sign(one.slope_above_controls) * sign(slope) for one in known}
    if directions == {0}:
        return f"{said}, which is {compared}."
    if directions == {-1}:
        return f"{said}, but less than random neurons: {compared}."
    if 1 not in directions:
        return f"{said}, but not more than random neurons: {compared}."
    if len(directions) > 1:
        return f"{said}, but the kinds of random neurons disagree on whether it is more than theirs: {compared}."
    steep, drawn = sum(_steeper(result, one) for one in known), sum(one.controls for one in known)
    shown = f"{steep} of {drawn} {'is' if 1 in (steep, drawn) else 'are'} as steep"
    if steep:
        return f"{said}, more than the mean of the random sets, but {shown}: {compared}."
    if len(result.against) == 1:
        return f"{said}, more than random neurons: {compared}; {shown}."
    reach = "every kind" if len(known) == len(result.against) else "every kind compared"
    return f"{said}, more than random neurons of {reach}: {compared}."


def _comparable(result: BenchmarkResult) -> list[AgainstControls]:
    """The kinds of random neurons with items scored under the selected and all of their sets."""
    return [one for one in result.against if math.isfinite(one.slope_above_controls.value)]


def _despite(result: BenchmarkResult) -> str:
    """What there is to say of random neurons where there is no trend: nothing, unless they move otherwise."""
    directions = {sign(one.slope_above_controls) for one in _comparable(result)}
    if directions <= {0}:
        return ""
    compared = ", ".join(_place(result, one) for one in result.against)
    if len(directions) > 1:
        return f", though beside random neurons, whose kinds disagree, it is {compared}"
    return f", though it is {compared}"


def _place(result: BenchmarkResult, one: AgainstControls) -> str:
    """Where the slope lies beside one kind of random neurons, which is named where there are several."""
    above, several = one.slope_above_controls, len(result.against) > 1
    sets = f"{one.controls} {words(one.kind) + ' ' if several else ''}random set{'s' if one.controls > 1 else ''}"
    if not math.isfinite(above.value):
        return f"not to be compared with {sets} (no item was scored under all of them)"
    where = {1: "above", -1: "below", 0: "no different from"}[sign(above)]
    more = f" over {above.n} items" if above.n < result.selected.slope.n else ""
    if several and sign(above) == sign(result.selected.slope) != 0:
        more += f"; {_steeper(result, one)} of them as steep"
    return f"{where} the mean of {sets} ({points(above)} pp{more})"


def _steeper(result: BenchmarkResult, one: AgainstControls) -> int:
    slope = result.selected.slope
    slopes = [c.slope.value for c in result.controls(one.kind)]
    return sum(sign(slope) * (value - slope.value) >= -_ROUNDING for value in slopes)


def describe_judge(result: BenchmarkResult) -> str:
    """How often the judge is wrong, as far as it is known; empty for rules that are no judge of answers."""
    if not result.known_error and result.judge == "alias":
        return "The error of the judge 'alias' was not recorded with these results."
    return result.known_error


def describe_sweep(result: BenchmarkResult) -> list[str]:
    """Rates at both ends, where they differ from alpha = 1, groups of items, and replies without outcome."""
    alphas = result.selected.alphas
    base = next(at for at in alphas if at.alpha == result.no_op)
    ends = [at for at in (alphas[0], alphas[-1]) if at is not base]
    rates = ", ".join(f"{percent(at.rate)} at alpha {at.alpha:g}" for at in ends)
    said = [
        f"{percent(base.rate)}% of {base.rate.n} items at alpha = {result.no_op:g}" + (f"; {rates}." if rates else ".")
    ]
    others = [at for at in alphas if at is not base]
    moved = [at for at in others if sign(at.change)]
    unknown = _alphas(at for at in others if not math.isfinite(at.change.value))
    if moved:
        found = "; ".join(f"{points(at.change)} pp at {at.alpha:g}" for at in moved)
        said.append(f"Different from alpha = {result.no_op:g} at {len(moved)} of {len(others)} alphas: {found}.")
    elif others and not unknown:
        said.append("At no alpha is the rate different from that at alpha = 1 by more than chance.")
    if unknown:
        said.append(f"No item was scored both at alpha = 1 and at alpha {unknown}, so nothing is known there.")
    if min(base.rate.value, 1 - base.rate.value) <= _EDGE:
        way = "fall" if base.rate.value <= _EDGE else "rise"
        said.append(f"So near {0 if way == 'fall' else 100}% it can hardly {way}, whatever the neurons do.")
    if result.groups < result.items:
        said.append(f"The {result.items} items are of {result.groups} groups, which are resampled whole.")
        scored = [at for at in alphas if at.groups]
        fewest = min(scored, key=lambda at: at.groups, default=base)
        if 0 < fewest.groups < _FEW_GROUPS:
            if fewest.groups < result.groups:
                said.append(f"At alpha {fewest.alpha:g} items of only {fewest.groups} groups are scored.")
            said.append("From so few groups intervals come out too narrow: take a difference for no more than a hint.")
    return said + describe_losses(result)


def describe_losses(result: BenchmarkResult) -> list[str]:
    """How many replies have no outcome or are cut off, and what rates could be with them; empty where none are."""
    selected, said = result.selected, []
    if any(_missed(at) for at in selected.alphas):
        said.append(f"Without outcome, of {result.items} replies each: {_each(selected.alphas, _missed)}.")
    if any(at.truncated for at in selected.alphas):
        limit = f" of {result.max_tokens} tokens" if result.max_tokens else ""
        cut = _each(selected.alphas, lambda at: at.truncated)
        said.append(
            f"Cut off by the limit{limit}, of {result.items} each: {cut}. "
            "They are graded by what stands in them, whatever they would have gone on to say."
        )
    open_ = [at for at in selected.alphas if at.bounds is not None]
    if open_:
        ranges = ", ".join(f"{_range(at.bounds, 1)}% at {at.alpha:g}" for at in open_ if at.bounds is not None)
        said.append(f"Whatever the replies without outcome hold, the rate lies in {ranges}.")
    if selected.slope_bounds is not None and selected.slope_weighted is not None:
        said.append(
            f"The slope over all items lies in {_range(selected.slope_bounds, 2)} pp; with scored items standing for "
            f"unscored ones of the same outcome at alpha = {result.no_op:g} it is "
            f"{points(selected.slope_weighted, unit=' pp')} (n={selected.slope_weighted.n})."
        )
    return said


def _missed(at: AlphaResult) -> int:
    return sum(at.unscored.values())


def _each(found: Iterable[AlphaResult], count: Callable[[AlphaResult], int]) -> str:
    return ", ".join(f"{count(at)} at alpha {at.alpha:g}" for at in found)


def _range(bounds: Bounds, digits: int) -> str:
    low, high = (number(100 * end, digits) for end in bounds)
    return f"[{low}, {high}]"


def _undone(result: BenchmarkResult) -> str:
    """What to add to a trend that the replies without outcome could undo."""
    bounds = result.selected.slope_bounds
    if bounds is None or not bounds[0] <= 0 <= bounds[1]:
        return ""
    return " The replies without outcome could undo this: they are as many as it would take."


def list_sweep_caveats(results: Mapping[str, BenchmarkResult]) -> list[str]:
    """What these results do not show."""
    said = []
    said.append(_judge_inert(results.get(INERT)))
    by_rule = [name for name, result in results.items() if not result.judge.startswith("llm:") and name != INERT]
    if by_rule:
        said.append(
            f"No model judged {', '.join(by_rule)}: rules compare conditions, but the rates themselves are rough."
        )
    drawn = sorted({one.controls for result in results.values() for one in result.against})
    for controls in drawn:
        said.append(
            f"Lying above all of {controls} random sets of a kind happens by chance one time in {controls + 1}, lying "
            "below all of them as often."
        )
    tests = sum(len(result.selected.alphas) - 1 for result in results.values())
    beside = sum((len(result.selected.alphas) - 1) * len(result.against) for result in results.values())
    shown = f"{tests} comparisons with alpha = 1" + (f" and {beside} with random sets" if beside else "")
    if tests:
        said.append(f"{shown} are shown; about 1 in 20 differs by chance alone.")
    said.append("A rate that moves says nothing about which items moved or why: audit the recorded replies.")
    return said


def _judge_inert(result: BenchmarkResult | None) -> str:
    """Whether the benchmark that should not move did, and what it cannot tell."""
    if result is None:
        return f"Without '{INERT}', which should not move, it is unknown from which alpha on the model is broken."
    base = next(at for at in result.selected.alphas if at.alpha == result.no_op)
    others = [at for at in result.selected.alphas if at is not base]
    if not others:
        plain = f"'{INERT}', the inert control, was run at alpha = {result.no_op:g} only"
        return f"{plain}: the model may be broken at any other."
    moved = [at for at in others if sign(at.change)]
    broken = _alphas(at for at in moved if mcnemar_exact(at.gained, at.lost) < _CHANCE)
    if broken:
        return (
            f"'{INERT}', which needs no knowledge and no stance, moves at alpha {broken}: there the model is damaged, "
            "and other rates say little."
        )
    unknown = _alphas(at for at in others if not math.isfinite(at.change.value))
    if unknown:
        return f"'{INERT}', the inert control, was not scored at alpha {unknown}: the model may be broken there."
    named = f"'{INERT}', the inert control ({percent(base.rate)}% at alpha = 1),"
    if base.rate.value <= _EDGE:
        return f"{named} can hardly fall, so it shows nothing: the model may be broken at any alpha."
    fall = max(map(_fall, others))
    if fall > _OPEN:
        return f"{named} leaves a fall by {100 * fall:.1f} points open: it cannot show whether the model is damaged."
    if moved:
        return (
            f"{named} moves at alpha {_alphas(moved)} in so few items that an exact test cannot tell it from chance: "
            f"damage there is left open, but no fall by more than {100 * fall:.1f} points."
        )
    return (
        f"{named} moves at no alpha (a fall by more than {100 * fall:.1f} points is ruled out): no sign of a broken "
        "model."
    )


def _alphas(found: Iterable[AlphaResult]) -> str:
    return ", ".join(f"{at.alpha:g}" for at in found)


def _fall(at: AlphaResult) -> float:
    """The largest fall left open: no rate falls by more than the share of items lost, which has Wilson's interval."""
    units = min(at.groups, at.change.n)
    return max(-at.change.low, wilson(math.ceil(at.lost * units / at.change.n), units).high)
