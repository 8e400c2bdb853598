"""Section: what the numbers do not show."""

from typing import Any

from hneurons.report.findings import list_caveats
from hneurons.report.sections.section import RunPage, Section


def describe(page: RunPage) -> dict[str, Any]:
    return {"caveats": list_caveats(page.run.plan, page.detector, page.results, page.summaries)}


SECTION = Section("caveats", "What this does not show", 80, describe)
