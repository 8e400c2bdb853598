"""Responses a run drew before its settings changed: never thrown away, and drawn again only where none fits.

What is drawn for a sample depends on the model, the style, the sampling, the question and the number of the sample
alone. So another judge, another stopping rule, more samples or more questions ask the record first.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hneurons.core.artifacts import MANIFEST, ROWS, Manifest
from hneurons.core.files import storage_errors
from hneurons.core.seeds import fingerprint
from hneurons.core.types import Question, Response
from hneurons.runs.asking import load_kept

EARLIER = "earlier"
_DRAWN_BY = ("model", "sampling", "style", "dtype")


def draws_otherwise(differences: Mapping[str, str]) -> bool:
    """Whether results that differ in these fields hold answers that the new settings would not give."""
    return any(name in differences for name in _DRAWN_BY)


def recorded_responses(
    datasets: Sequence[Path], questions: Sequence[Question], settings: Mapping[str, Any]
) -> list[Response]:
    """All responses below these folders of datasets that the questions would get again with these settings."""
    texts = {question.id: question.text for question in questions}
    found: dict[str, Response] = {}
    for folder in (place for dataset in datasets for place in _recordings(dataset)):
        manifest = Manifest.load(folder / "responses")
        if _drawn_by(manifest.settings) != _drawn_by(settings):
            continue
        asked = load_kept(folder / "questions")
        if manifest.inputs.get("questions") != fingerprint([question.to_row() for question in asked]):
            continue
        same = {question.id for question in asked if texts.get(question.id) == question.text}
        found |= {r.id: r for r in _rows_so_far(folder / "responses", manifest) if r.question_id in same}
    return list(found.values())


def _drawn_by(settings: Mapping[str, Any]) -> str:
    return fingerprint([settings.get(name) for name in _DRAWN_BY])


def put_aside(dataset: Path, part: str = "responses") -> Path:
    """Move a part of a dataset (or of a run) to a numbered folder in `earlier`, with a copy of its questions.

    "responses.next", which are drawn but not yet in their place, are kept there as responses.
    """
    with storage_errors(dataset):
        (dataset / EARLIER).mkdir(exist_ok=True)
        number = 1 + max((int(p.name) for p in (dataset / EARLIER).iterdir() if p.name.isdigit()), default=0)
        place = dataset / EARLIER / str(number)
        place.mkdir()
        if (dataset / "questions").is_dir():
            shutil.copytree(dataset / "questions", place / "questions")
        (dataset / part).rename(place / part.removesuffix(".next"))
    return place


def earlier_parts(dataset: Path, part: str) -> list[Path]:
    """The folders of a part that were put aside, the newest first."""
    numbered = [p for p in (dataset / EARLIER).glob("*") if p.name.isdigit() and (p / part / MANIFEST).is_file()]
    return [p / part for p in sorted(numbered, key=lambda p: -int(p.name))]


def _recordings(dataset: Path) -> Iterator[Path]:
    """Folders that hold responses beside the questions they answer, the newest last."""
    earlier = dataset / EARLIER
    numbered = [p for p in earlier.iterdir() if p.name.isdigit()] if earlier.is_dir() else []
    for folder in [*sorted(numbered, key=lambda p: int(p.name)), dataset]:
        if all((folder / part / MANIFEST).is_file() for part in ("questions", "responses")):
            yield folder


def _rows_so_far(folder: Path, manifest: Manifest) -> list[Response]:
    """The responses of all whole chunks, of an unfinished stage, too. Raises `ArtifactError` for damaged ones."""
    from hneurons.answers.responses import load_responses

    if manifest.complete:
        return load_responses(folder).responses
    data = (folder / ROWS).read_bytes()[: manifest.bytes]
    return [Response.from_row(json.loads(line)) for line in data.splitlines()]
