"""How a run was made: the command that makes it again, and the package versions its stages ran under."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from hneurons.core.artifacts import Manifest
from hneurons.runs.folder import RunFolder
from hneurons.runs.plan import STAGES, RunPlan

_FIT_FLAGS = {"labels": "--labels", "columns": "--scaling", "C": "--C"}


def describe_command(run: RunFolder, stages: Mapping[str, Manifest]) -> str:
    """The command lines that make `run` again; `stages` are the manifests of its finished training stages."""
    models = {stage: manifest.settings.get("model") for stage, manifest in stages.items()}
    sampler = models.get("responses")
    return reproduce_command(
        run.plan,
        run.folder.resolve().name,
        fit=Manifest.load(run.detector).settings,
        judge=models.get("verdicts") or models.get("spans") or "",
        sampler=sampler if isinstance(sampler, str) else "",
    )


def reproduce_command(
    plan: RunPlan, out: str, *, fit: Mapping[str, Any] | None = None, judge: str = "", sampler: str = ""
) -> str:
    """The command lines that make the same run, with every option that is not the default.

    `fit` are the settings of the `fit` stage; where they are not the plan's the stages are called one by one.
    `judge` and `sampler` are the models of the endpoints that judged or located, and that sampled, if any.
    """
    words = []
    for item in fields(plan):
        value = getattr(plan, item.name)
        if not item.metadata["help"] or value is None or (item.default is not MISSING and value == item.default):
            continue
        flag = item.metadata["flag"] or f"--{item.name.replace('_', '-')}"
        for part in value if isinstance(value, tuple) else (value,):
            words += [flag, str(part)]
    words += ["--sample-url", "URL", "--sample-model", sampler] if sampler else []
    judging = ["--judge-url", "URL", "--judge-model", judge] if judge else []
    planned = {"labels": plan.labels, "columns": plan.scaling, "C": None}
    changed = {k: v for k, v in (fit or {}).items() if k in planned and v != planned[k]}
    choice = (fit or {}).get("choice")
    benchmark = plan.capability.partition(":")[0] if plan.selection == "capability" else None
    as_planned = choice is not None and choice["benchmark"] == benchmark
    if not changed and (as_planned or fit is None or (choice is None and plan.selection == "held-out")):
        return shlex.join(["hneurons", "run", *words, *judging, "--out", out])
    own = {"label": judging, "locate": judging, "fit": [w for k, v in changed.items() for w in (_FIT_FLAGS[k], str(v))]}
    if choice is None and plan.selection == "capability":
        own["fit"] += ["--select", "held-out"]
    if choice is not None:
        own["fit"] += ["--select", "capability", "--capability", choice["benchmark"]]
        own["fit"] += ["--capability-limit", str(choice["n"])]
    lines = [["sample", *words, "--out", out], *([stage, out, *own.get(stage, [])] for stage in STAGES[1:])]
    return "\n".join(shlex.join(["hneurons", *line]) for line in lines)


def collect_versions(manifests: Sequence[Manifest]) -> dict[str, str]:
    """Package versions the stages were made with; several where a run went on under other ones."""
    found: dict[str, set[str]] = {}
    for manifest in manifests:
        for name, version in manifest.versions.items():
            found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(versions)) for name, versions in sorted(found.items())}
