"""Section: whether the neurons were there before tuning, where `origin` was run."""

from typing import Any

from hneurons.report.origin_report import describe_origin
from hneurons.report.sections.section import RunPage, Section


def describe(page: RunPage) -> dict[str, Any] | None:
    found = describe_origin(page.run.folder)
    return None if found is None else {"origin": found}


SECTION = Section("origin", "Origin", 50, describe)
