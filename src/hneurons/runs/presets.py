"""Settings that belong together under one name: the paper's own."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from hneurons.core.errors import InputError
from hneurons.core.wording import did_you_mean
from hneurons.runs.plan import RunPlan

PAPER: dict[str, Any] = {
    "temperature": 1.0, "top_k": 50, "top_p": 0.9, "n": 10, "min_agreement": None, "judge": "llm", "finder": "llm",
    "labels": "3-vs-1", "other": "sequence", "scaling": "raw", "selection": "capability",
}  # fmt: skip
"""arXiv 2512.01797, sections 2.1 and 2.2; the other tokens are those of the authors' code."""
PRESETS = {"paper": PAPER}


def apply_preset(plan: RunPlan, preset: str, *, given: Collection[str], endpoint: bool) -> tuple[RunPlan, str]:
    """The plan with the preset's settings where none was `given`, and a sentence about what it cannot have here.

    Judge and finder are a language model at an endpoint; without an `endpoint` the plan's own stay, which the sentence
    says. Raises `InputError` for an unknown preset.
    """
    if preset not in PRESETS:
        raise InputError(f"unknown preset '{preset}'{did_you_mean(preset, list(PRESETS))}")
    settings = {name: value for name, value in PRESETS[preset].items() if name not in given}
    lacking = [] if endpoint else [name for name in ("judge", "finder") if settings.pop(name, None)]
    changed = replace(plan, **settings)
    own = " and ".join(f"the {name} '{getattr(changed, name)}'" for name in lacking)
    if not own:
        return changed, ""
    return changed, f"preset '{preset}' without --judge-url: {own} in place of the language model that it asks"
