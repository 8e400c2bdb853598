"""A changed plan, checked before it is written: its sources can be read, and its model would draw the same answers."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from hneurons.core.artifacts import MANIFEST, RUN_JSON, Manifest
from hneurons.core.errors import ArtifactError, HNeuronsError
from hneurons.core.types import ModelIdentity
from hneurons.runs.asking import split_questions
from hneurons.runs.plan import RunPlan


def check_questions(folder: Path, plan: RunPlan) -> None:
    """Load what a changed plan asks before it is written, so that a source that is refused leaves the run as it was."""
    if (folder / RUN_JSON).is_file():
        earlier = RunPlan.load(folder)
        if any(getattr(earlier, name) != getattr(plan, name) for name in ("questions", "tests", "limit", "test_limit")):
            split_questions(plan)


def check_draws(folder: Path, plan: RunPlan) -> None:
    """Raise `ArtifactError` where the folder holds responses that this plan's model and sampling would not give."""
    if not (folder / RUN_JSON).is_file():
        return
    earlier = RunPlan.load(folder)
    changed = plan.draws_otherwise(earlier)
    drawn = [Manifest.load(found.parent) for found in folder.glob(f"**/responses/{MANIFEST}")]
    drawn = [manifest for manifest in drawn if manifest.done]
    if plan.model != earlier.model and drawn and _has_moved(plan.model, drawn):
        changed = plan.draws_otherwise(replace(earlier, model=plan.model))
    if drawn and changed:
        raise ArtifactError(
            f"{folder} holds responses drawn with other settings ({'; '.join(changed)}): choose another --out, or give "
            "--resample to draw them again"
        )


def _has_moved(model: str, drawn: Iterable[Manifest]) -> bool:
    """Whether the model that drew these responses lies at `model` now, in a folder or file of the same name."""
    from hneurons.models.stored_weights import open_stored

    try:
        now = open_stored(model).identity()
        known = [ModelIdentity.from_row(manifest.settings["model"]) for manifest in drawn]
    except (HNeuronsError, ValueError):  # no such model, or answers of an endpoint
        return False
    return all(then.name == now.name and not then.differences(now) for then in known)
