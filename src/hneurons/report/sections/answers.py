"""Section: every answer to the test questions, to be searched, filtered and ordered in the page itself."""

from typing import Any

from hneurons.report.answer_list import LONGEST, MOST, list_answers
from hneurons.report.sections.section import RunPage, Section


def describe(page: RunPage) -> dict[str, Any] | None:
    found = list_answers(page.run, page.results)
    rows = found[:MOST]
    if not rows:
        return None
    return {
        "answers": {"rows": rows, "neurons": page.strongest_answers, "threshold": page.detector.threshold},
        "datasets": list(page.results),
        "verdicts": sorted({row["v"] for row in rows}),
        "left_out": len(found) - len(rows),
        "longest": LONGEST,
        "signal": page.detector.signal,
        "main": page.main.name if page.main else "",
    }


SECTION = Section("answers", "All answers", 65, describe)
