"""Section: answers of the main test set, those the detector is surest of, rightly and wrongly."""

from typing import Any

from hneurons.core.types import Example
from hneurons.detection.evaluation import DatasetResult
from hneurons.report.sections.section import RunPage, Section

_SHOWN = 5  # of each kind


def describe(page: RunPage) -> dict[str, Any]:
    return {
        "main": page.main.name if page.main else "",
        "threshold": page.detector.threshold,
        "examples": _examples(page, page.main) if page.main else [],
    }


def _examples(page: RunPage, result: DatasetResult) -> list[dict[str, Any]]:
    """Answers of one test set: those the detector is surest of, rightly and wrongly, strongest first."""
    known = {e.id: e for e in page.run.load_located(result.name)}
    reasons = {j.id: j.reason for j in page.run.load_judgements(result.name)}
    items = [(known[i], wrong, odds) for i, wrong, odds in result.items if i in known]
    flagged = page.detector.threshold
    kinds = (
        ("Wrong answers it calls made up", [x for x in items if x[1] and x[2] > flagged], True),
        ("Right answers it lets pass", [x for x in items if not x[1] and x[2] <= flagged], False),
        ("Mistakes: wrong answers it lets pass", [x for x in items if x[1] and x[2] <= flagged], False),
        ("Mistakes: right answers it calls made up", [x for x in items if not x[1] and x[2] > flagged], True),
    )
    return [
        {
            "title": title,
            "total": len(chosen),
            "items": [
                _card(example, odds, reasons.get(example.id, ""))
                for example, _, odds in sorted(chosen, key=lambda x: (-x[2] if falling else x[2], x[0].id))[:_SHOWN]
            ],
        }
        for title, chosen, falling in kinds
    ]


def _card(example: Example, odds: float, reason: str) -> dict[str, Any]:
    text, (start, end) = example.response.text, example.char_span or (0, 0)
    return {
        "question": example.question.text,
        "before": text[:start],
        "answer": text[start:end],
        "after": text[end:],
        "verdict": example.verdict,
        "reason": reason,
        "known": list(example.question.answers[:4]),
        "more": max(0, len(example.question.answers) - 4),
        "odds": odds,
        "id": example.id,
    }


SECTION = Section("examples", "Examples", 60, describe)
