"""The questions of a run: read once from their sources, split, and kept in the run, which then needs no source."""

import logging
import shutil
from pathlib import Path
from typing import Any

from hneurons.core.artifacts import MANIFEST, Manifest, RowStore, load_rows
from hneurons.core.errors import NotEnoughDataError, OtherSettingsError
from hneurons.core.files import file_hash, stored_errors
from hneurons.core.seeds import derive_seed
from hneurons.core.types import Question
from hneurons.runs.plan import TRAIN, RunPlan

STAGE = "questions"
_HELD_OUT = 35  # percent of the questions that make the in-domain test set
_log = logging.getLogger(__name__)


def split_questions(plan: RunPlan) -> dict[str, list[Question]]:
    """Questions by dataset, from their sources: "train", the held-out part of the same set, then the other test sets.

    All questions about one fact are held out or none. A test question that is also trained on, after normalisation,
    or asks a fact that is, is dropped. Raises `NotEnoughDataError` for a dataset without questions, and what
    `load_questions` raises.
    """
    from hneurons.answers.questions import load_questions, question_key

    asked = load_questions(plan.questions, limit=plan.limit, seed=plan.seed)
    held_out = [q for q in asked if derive_seed("held out", plan.seed, q.group) % 100 < _HELD_OUT]
    chosen = {q.id for q in held_out}
    names = plan.datasets()
    sets = {TRAIN: [q for q in asked if q.id not in chosen], names[1]: held_out}
    seen = {question_key(q.text) for q in sets[TRAIN]}
    facts = {q.fact for q in sets[TRAIN] if q.fact}
    for name, spec in zip(names[2:], plan.tests, strict=True):
        found = load_questions(spec, limit=plan.test_limit, seed=plan.seed)
        kept = [q for q in found if question_key(q.text) not in seen and q.fact not in facts]
        if len(kept) < len(found):
            _log.info("%s: %d questions left out, they are trained on", spec, len(found) - len(kept))
        sets[name] = kept
    for name, kept in sets.items():
        if not kept:
            raise NotEnoughDataError(
                f"no question is left for '{name}': {_HELD_OUT}% of the questions are held out as test set, and "
                "what is trained on is left out of every test set; give more questions or another test set"
            )
    return sets


def keep_questions(folder: Path, plan: RunPlan, questions: list[Question]) -> None:
    """Write a dataset's questions to its `questions` folder; those of another plan there are replaced."""
    for _ in range(2):
        try:
            store = RowStore(folder, stage=STAGE, settings=_settings(plan), inputs=_files(plan), expected=1)
            break
        except OtherSettingsError:
            shutil.rmtree(folder)
    if not store.complete:
        if not store.done:  # a run killed before it was finished has them already
            store.commit([question.to_row() for question in questions])
        store.finish({"questions": len(questions)})


def are_kept(folder: Path, plan: RunPlan, *, check_files: bool) -> bool:
    """Whether the folder holds the questions this plan asks; with `check_files`, of the files as they are now.

    Files that are gone are not needed any more.
    """
    if not (folder / MANIFEST).is_file():
        return False
    stored = Manifest.load(folder)
    now = _files(plan) if check_files else {}
    changed = any(stored.inputs.get(name, content) != content for name, content in now.items())
    return stored.complete and stored.settings == _settings(plan) and not changed


def load_kept(folder: Path) -> list[Question]:
    """Read a dataset's `questions` folder. Raises `InputError` or `ArtifactError`."""
    _, rows = load_rows(folder, stage=STAGE)
    with stored_errors(folder):
        return [Question.from_row(row) for row in rows]


def _settings(plan: RunPlan) -> dict[str, Any]:
    return {
        "questions": plan.questions,
        "tests": list(plan.tests),
        "limit": plan.limit,
        "test_limit": plan.test_limit,
        "seed": plan.seed,
    }


def _files(plan: RunPlan) -> dict[str, str]:
    """Hashes of the question files that are there."""
    names = [name.strip() for spec in (plan.questions, *plan.tests) for name in spec.partition(":")[2].split(",")]
    paths = {name: Path(name).expanduser() for name in names if name}
    return {name: file_hash(path) for name, path in paths.items() if path.is_file()}
