"""Section: how many questions and answers each stage kept, and why it dropped the others."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hneurons.report.sections.section import RunPage, Section

_VERDICTS = ("correct", "incorrect", "abstained", "unscored")


def describe(page: RunPage) -> dict[str, Any]:
    return {
        "counts": _count_rows(page.summaries),
        "datasets": list(page.summaries),
        "samples": page.run.plan.n,
        "known_error": page.run.judge_error(),
        "finder": describe_finder(page.run.plan.finder, page.summaries),
    }


def describe_finder(name: str, summaries: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """What the choice of finder costs: how many selected answers it does not find, by class."""
    spans = [summary["spans"] for summary in summaries.values() if "found" in summary.get("spans", {})]
    found, lost = (
        {kind: sum(one[key][kind] for one in spans) for kind in ("right", "wrong")} for key in ("found", "not_found")
    )
    if not spans:
        return ""
    total = sum(found.values()) + sum(lost.values())
    return (
        f"The finder '{name}' located {sum(found.values()):,} of {total:,} selected answers. Left out for want of a "
        f"place: {lost['right']:,} right and {lost['wrong']:,} wrong."
    )


class _Count(NamedTuple):
    """One line of the table of counts; `kind` is "stage", "detail" or "dropped"."""

    label: str
    kind: str
    cells: list[str]


def _count_rows(summaries: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[_Count]:
    """Counts stage by stage, one cell a dataset; lines that are zero or unknown everywhere are left out."""
    reasons = sorted({r for s in summaries.values() for r in s.get("examples", {}).get("dropped", {})})
    lines = [
        ("questions", "stage", ("responses", "questions")),
        ("asked before the quotas were full", "stage", ("responses", "asked")),
        ("stopped early: samples disagreed, or the class was full", "detail", ("responses", "stopped_early")),
        ("responses", "stage", ("responses", "responses")),
        ("truncated", "detail", ("responses", "truncated")),
        ("recorded, not drawn here", "detail", ("responses", "recorded")),
        ("verdict came with the answer", "detail", ("verdicts", "given")),
        *((f"judged {v}", "detail", ("verdicts", "verdicts", v)) for v in _VERDICTS),
        ("consistent, right + wrong", "stage", ("examples", "consistent")),
        *((f"dropped: {reason}", "dropped", ("examples", "dropped", reason)) for reason in reasons),
        ("selected, right + wrong", "stage", ("examples", "selected")),
        ("located, right + wrong", "stage", ("spans", "found")),
        ("answer not found, right + wrong", "dropped", ("spans", "not_found")),
        ("token ids say something else", "dropped", ("spans", "other_tokens", "responses")),
        ("longer than the window", "dropped", ("contributions", "too_long", "examples")),
        ("tokens that the model does not know", "dropped", ("contributions", "unknown_tokens", "examples")),
        ("rows of contributions", "stage", ("contributions", "rows")),
    ]
    rows = []
    for label, kind, keys in lines:
        found = [_dig(s, keys) for s in summaries.values()]
        if kind == "stage" or any(f not in (None, 0, {"right": 0, "wrong": 0}) for f in found):
            rows.append(_Count(label, kind, [_count_cell(f, known=keys[0] in s) for f, s in
                                             zip(found, summaries.values(), strict=True)]))  # fmt: skip
    return rows


def _dig(value: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _count_cell(value: Any, *, known: bool) -> str:
    if value is None:
        return "0" if known else "–"
    return f"{value['right']:,} + {value['wrong']:,}" if isinstance(value, Mapping) else f"{value:,}"


SECTION = Section("counts", "Counts", 20, describe)
