"""Section: what scaling the neurons does, where `bench` was run in the run's folder."""

from typing import Any

from hneurons.benchmarks.sweeps import neurons_id
from hneurons.report.bench_report import run_sweeps
from hneurons.report.sections.section import RunPage, Section


def describe(page: RunPage) -> dict[str, Any] | None:
    sweeps = run_sweeps(page.run.folder, neurons_id(page.neurons))
    return {"sweeps": sweeps, "size": len(page.neurons)} if sweeps else None


SECTION = Section("sweeps", "Scaling", 70, describe)
