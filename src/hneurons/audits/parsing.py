"""How responses were read: failures taken for resistance, letters found in prose, labels that cannot match the key."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hneurons.answers.judges.choices import Reading, read_choice
from hneurons.audits.panels import Panel, build_panel
from hneurons.audits.results import AUDITS, AuditResult, Collector, Figure, Series, above_zero, away_from_zero, points
from hneurons.audits.verdicts import Verdict, could_see, judge_none
from hneurons.core.stats import Estimate, wilson
from hneurons.records.record import Record
from hneurons.records.recorded_run import Run, outcome_runs

_SHOWN = 8
_COLLAPSE = 0.1


@AUDITS.register("parsing")
def audit_parsing(runs: Sequence[Run]) -> AuditResult:
    """Outcome class of every response, strict remap of text answers, rates before and after."""
    found = Collector("parsing", runs)
    for run in outcome_runs(runs):
        for name in run.conditions:
            records = [record for record in run.records if record.condition == name]
            if any(record.choice is not None or record.choices for record in records):
                _audit_choices(found, run, name, _share_choices(records))
            if any(record.aliases and record.response is not None for record in records) and name in run.selected():
                _audit_aliases(found, run, name, records)
    return found.result("choices or aliases of the responses")


def _share_choices(records: list[Record]) -> list[Record]:
    """Options recorded on one row of an item hold for all its rows."""
    known = {record.id: record.choices for record in records if record.choices}
    return [replace(record, choices=record.choices or known.get(record.id)) for record in records]


def unmatchable_keys(records: Sequence[Record]) -> dict[str, dict[str, str]]:
    """Items whose options are labelled otherwise than their key: id -> {option label: letter of the same place}.

    Without recorded options the labels are those ever chosen for the item; digits against a letter key give it away.
    """
    labels: dict[str, set[str]] = {}
    keys: dict[str, str] = {}
    for record in records:
        if record.key:
            keys[record.id] = record.key
            seen = labels.setdefault(record.id, set())
            seen.update(record.choices or ([record.choice] if record.choice else []))
    found = {}
    for item, key in keys.items():
        if labels[item] and key.isalpha() and all(label.isdigit() for label in labels[item]):
            found[item] = {str(place): chr(ord("A") + place - 1) for place in range(1, 10)}
    return found


def _audit_choices(found: Collector, run: Run, name: str, records: list[Record]) -> None:
    readings = {r.cell: read_choice(r.response, r.choices) for r in records if r.response is not None}
    failed = build_panel(name, records, lambda r: None if r.choice is None else float(r.choice == ""))
    if run.condition(name).is_control:
        if np.nansum(failed.values):
            _tabulate_failures(found, run, failed)
        return
    _tabulate_failures(found, run, failed)
    _find_failures(found, run, failed)
    if readings:
        _tabulate_classes(found, run, name, records, readings)
        _find_doubtful(found, run, name, records, readings)
    _find_collapse(found, run, name, records)
    _find_keys(found, run, name, records)
    if any(record.choices for record in records) and readings:
        _find_remap(found, run, name, records, readings)


def _tabulate_failures(found: Collector, run: Run, failed: Panel) -> None:
    for alpha in failed.alphas:
        found.row(
            "failures", run=run.name, condition=failed.condition, alpha=alpha, failures=failed.count(alpha),
            share=failed.rate(alpha),
        )  # fmt: skip


def _find_failures(found: Collector, run: Run, failed: Panel) -> None:
    if len(failed.alphas) < 2:
        return
    counts = {f"{alpha:g}": failed.count(alpha) for alpha in failed.alphas}
    slope, change = failed.slope(), failed.difference(failed.alphas[0], failed.alphas[-1])
    holds: Verdict = "contradicted" if away_from_zero(slope) else judge_none(change)
    figure = f"failures:{run.name}:{failed.condition}"
    rates = [failed.rate(alpha) for alpha in failed.alphas]
    series = Series(
        "parse failures", failed.alphas, tuple(100 * r.value for r in rates), tuple(100 * r.low for r in rates),
        tuple(100 * r.high for r in rates),
    )  # fmt: skip
    found.figures[figure] = Figure(f"{run.name}: parse failures", "alpha", "responses (%)", (series,))
    # Each failure counts as the outcome not happening, so a trend in failures is a trend in the rate.
    found.find(
        run.name,
        f"Parse failures of {failed.condition} do not depend on alpha",
        holds,
        f"Failures by alpha: {_shown(counts)} of {len(failed.ids)}; slope {points(slope, 2)} per alpha. Every failure "
        "is counted as the outcome not happening." + (could_see(change) if holds == "not shown" else ""),
        figure=figure, counts=counts, slope=slope,
    )  # fmt: skip


def _tabulate_classes(
    found: Collector, run: Run, name: str, records: list[Record], readings: dict[tuple[str, str, float], Reading]
) -> None:
    classes: dict[float, Counter[str]] = {}
    for record in records:
        if record.cell in readings:
            classes.setdefault(record.alpha, Counter())[readings[record.cell].outcome] += 1
    for alpha, counts in sorted(classes.items()):
        found.row("classes", run=run.name, condition=name, alpha=alpha, **counts)
    shares = {a: wilson(c["letter"], sum(c.values())) for a, c in sorted(classes.items())}
    if len(shares) > 1:
        span = max(s.value for s in shares.values()) - min(s.value for s in shares.values())
        shown = "; ".join(f"{a:g}: {_listed(c)}" for a, c in sorted(classes.items()))
        found.find(
            run.name, f"The form of the answers of {name} does not change with alpha", span < 0.02,
            f"Share of bare letters differs by {100 * span:.1f} pp over alphas. By alpha: {shown}.", span=span,
        )  # fmt: skip


def _listed(counts: Counter[str]) -> str:
    """Classes of answers with their counts, the commonest first."""
    return ", ".join(f"{size} {name.replace('_', ' ')}" for name, size in counts.most_common())


def _find_doubtful(
    found: Collector, run: Run, name: str, records: list[Record], readings: dict[tuple[str, str, float], Reading]
) -> None:
    """Where the recorded choice and a strict reading part ways."""
    prose, wrong, compared, contradictory = [], [], 0, []
    for record in records:
        reading = readings.get(record.cell)
        if reading is None or record.choice is None:
            continue
        compared += 1
        if record.choice and reading.label != record.choice:
            prose.append(record)
            if reading.label is not None:
                wrong.append(record)
        if reading.outcome == "letter_text" and reading.text_label not in (None, reading.label):
            contradictory.append(record)
    by_alpha = Counter(f"{record.alpha:g}" for record in prose)
    flips = sum((readings[r.cell].label == r.key) != (r.choice == r.key) for r in wrong)
    examples = "; ".join(f"{r.id} at alpha {r.alpha:g}: '{(r.response or '')[:40]}' as {r.choice}" for r in prose[:3])
    found.find(
        run.name,
        f"Recorded choices of {name} agree with a strict reading",
        not prose,
        f"{len(prose)} of {compared} recorded choices are letters that no strict reading finds (by alpha: "
        f"{_shown(by_alpha)}). The text equals another option in {len(wrong)} of them; {flips} of these change the "
        f"outcome. {examples}",
        doubtful=len(prose), wrong=len(wrong), flips=flips, by_alpha=by_alpha, items=[r.id for r in prose[:_SHOWN]],
    )  # fmt: skip
    if any(record.choices for record in records):
        found.find(
            run.name,
            f"Letter and text of {name}'s answers name the same option",
            not contradictory,
            f"{len(contradictory)} answers give one option's letter with another option's text: "
            f"{', '.join(dict.fromkeys(r.id for r in contradictory))}.",
            count=len(contradictory),
        )  # fmt: skip


def _find_collapse(found: Collector, run: Run, name: str, records: list[Record]) -> None:
    """A model pushed off its course falls back on one letter; the rate then measures the keys, not the answers."""
    letters: dict[float, Counter[str]] = {}
    for record in records:
        if record.choice:
            letters.setdefault(record.alpha, Counter())[record.choice] += 1
    base = letters.get(run.settings.no_op)
    if not base or len(letters) < 2:
        return
    moved = {alpha: _distance(base, counts) for alpha, counts in sorted(letters.items())}
    worst = max(moved, key=lambda alpha: moved[alpha])
    top, count = letters[worst].most_common(1)[0]
    found.find(
        run.name,
        f"The chosen letters of {name} keep their distribution",
        moved[worst] < _COLLAPSE,
        f"Largest total variation from the no-op {moved[worst]:.3f}, at alpha {worst:g}, where {top} is chosen "
        f"{count} times of {letters[worst].total()} (at the no-op {base[top]} of {base.total()}).",
        distance={f"{alpha:g}": round(value, 4) for alpha, value in moved.items()},
    )


def _distance(first: Counter[str], second: Counter[str]) -> float:
    """Total variation distance of two distributions given as counts."""
    return sum(abs(first[k] / first.total() - second[k] / second.total()) for k in {*first, *second}) / 2


def _find_keys(found: Collector, run: Run, name: str, records: list[Record]) -> None:
    relabel = unmatchable_keys(records)
    items = len({record.id for record in records})
    panel = build_panel(name, records)
    rekeyed = build_panel(name, records, lambda r: _rekeyed(r, r.choice, relabel))
    counts = {f"{a:g}": rekeyed.count(a) - panel.count(a) for a in panel.alphas} if panel.is_binary else {}
    found.find(
        run.name,
        f"Every item of {name} can match its key",
        not relabel,
        f"{len(relabel)} of {items} items offer digits as labels while their key is a letter, so that no answer "
        f"can count" + (f"; keyed by position they would add, by alpha: {_shown(counts)}." if relabel else "."),
        items=sorted(relabel), added=counts,
    )  # fmt: skip


def _rekeyed(record: Record, choice: str | None, relabel: dict[str, dict[str, str]]) -> float | None:
    if choice is None or record.key is None:
        return None
    return float(relabel.get(record.id, {}).get(choice, choice) == record.key)


def _find_remap(
    found: Collector, run: Run, name: str, records: list[Record], readings: dict[tuple[str, str, float], Reading]
) -> None:
    """The same responses under three readings: as recorded, failures remapped by text, everything read strictly."""

    def remapped(record: Record) -> float | None:
        choice = record.choice or readings[record.cell].label if record.cell in readings else record.choice
        return None if choice is None and record.choice is None else float(choice == record.key)

    def strict(record: Record) -> float | None:
        """Unreadable answers are left out of the rate, not counted as resistance; keys are matched by position."""
        return _rekeyed(record, readings[record.cell].label, relabel) if record.cell in readings else None

    relabel = unmatchable_keys(records)
    panels = {
        "as recorded": build_panel(name, records, lambda r: None if r.choice is None else float(r.choice == r.key)),
        "failures remapped": build_panel(name, records, remapped),
        "all read strictly": build_panel(name, records, strict),
    }
    for record_alpha in panels["as recorded"].alphas:
        lost = [r for r in records if r.alpha == record_alpha and r.choice == "" and r.cell in readings]
        back = [r for r in lost if readings[r.cell].label is not None]
        found.row(
            "remap", run=run.name, condition=name, alpha=record_alpha, failures=len(lost), recovered=len(back),
            recovered_compliant=sum(readings[r.cell].label == r.key for r in back),
            **{f"rate {reading}": panel.rate(record_alpha) for reading, panel in panels.items()},
        )  # fmt: skip
    first = panels["as recorded"]
    low, high = first.alphas[0], first.alphas[-1]
    if low == high:
        return
    changes = {reading: panel.difference(low, high) for reading, panel in panels.items()}
    signs = {reading: above_zero(c) - (c.high < 0) for reading, c in changes.items()}
    figure = f"readings:{run.name}:{name}"
    lines = tuple(Series(r, p.alphas, tuple(100 * float(m) for m in p.means)) for r, p in panels.items())
    found.figures[figure] = Figure(f"{run.name}: one set of responses, three readings", "alpha", "rate (%)", lines)
    found.find(
        run.name,
        f"The effect of {name} keeps its sign when the same responses are read strictly",
        _keeps_sign(list(signs.values()), _gaps(panels, low, high)),
        f"Alpha {low:g} to {high:g}: " + "; ".join(f"{r} {points(c)}" for r, c in changes.items()) + ".",
        figure=figure, changes=changes,
    )  # fmt: skip


def _gaps(panels: dict[str, Panel], low: float, high: float) -> list[Estimate]:
    """How far each other reading of the same responses moves the change from that as recorded."""
    first, *others = panels.values()
    gaps = [Panel(p.condition, p.ids, p.alphas, p.values - first.values) for p in others if p.alphas == first.alphas]
    return [gap.difference(low, high) for gap in gaps]


def _keeps_sign(signs: Sequence[int], gaps: Sequence[Estimate]) -> Verdict:
    """Contradicted where two readings differ in sign, or where one that shows nothing differs from one that does."""
    if len(set(signs)) == 1:
        return "supported"
    return "contradicted" if {1, -1} <= set(signs) or any(map(away_from_zero, gaps)) else "not shown"


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s]", " ", unicodedata.normalize("NFKC", text).casefold()).split())


def _audit_aliases(found: Collector, run: Run, name: str, records: list[Record]) -> None:
    """Alias matching by substring: hits inside a longer word or number."""
    aliases = {r.id: [p for a in r.aliases if (p := _plain(a))] for r in records if r.aliases}
    without = {r.id for r in records} - {item for item, known in aliases.items() if known}
    scored = [r for r in records if r.outcome == 1 and r.response is not None and r.id in aliases]
    inside: list[Record] = []
    neither: list[Record] = []
    for record in scored:
        text = f" {_plain(record.response or '')} "
        known = aliases[record.id]
        if not any(f" {alias} " in text for alias in known):
            squeezed = text.replace(" ", "")
            hit = any(alias in text or alias.replace(" ", "") in squeezed for alias in known)
            (inside if hit else neither).append(record)
    by_alpha = Counter(f"{record.alpha:g}" for record in inside + neither)
    found.find(
        run.name,
        f"Alias matches of {name} are whole words",
        not inside and not neither,
        f"Of {len(scored)} responses counted as a match, {len(inside)} match only inside a longer word or number and "
        f"{len(neither)} match no alias as recorded (by alpha: {_shown(by_alpha)}). {len(without)} items have no "
        "usable alias and can never match.",
        inside=[r.id for r in inside[:_SHOWN]], n_inside=len(inside), n_neither=len(neither), by_alpha=by_alpha,
        items_without_alias=sorted(without)[:_SHOWN],
    )  # fmt: skip


def _shown(counts: "Counter[str] | dict[str, int]") -> str:
    return ", ".join(f"{key}: {value}" for key, value in counts.items()) or "none"
