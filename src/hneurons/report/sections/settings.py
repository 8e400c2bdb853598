"""Section: the command that makes the run again, its settings, its model and the package versions."""

from typing import Any

from hneurons.report.provenance import collect_versions, describe_command
from hneurons.report.sections.section import RunPage, Section
from hneurons.runs.plan import TRAIN

_ELSEWHERE = ("path", "stability", "chosen", "choice")  # settings that are shown in places of their own


def describe(page: RunPage) -> dict[str, Any]:
    train, fit = page.manifests[TRAIN], page.detector.settings
    return {
        "command": describe_command(page.run, train),
        "plan": page.run.plan.to_row(),
        "fit": {name: value for name, value in fit.items() if name not in _ELSEWHERE},
        "data": page.detector.data,
        "identity": page.detector.identity.to_row(),
        "versions": collect_versions([m for stages in page.manifests.values() for m in stages.values()]),
        "style": train["responses"].settings["style"] if "responses" in train else None,
    }


SECTION = Section("settings", "Settings", 90, describe)
