"""What was decided on labelled answers and is kept beside a detector: read, and held against that detector."""

from pathlib import Path
from typing import Protocol, TypeVar

from hneurons.core.errors import ArtifactError
from hneurons.core.files import read_checked
from hneurons.core.rows import from_row
from hneurons.detection.detector import Detector


class _OfDetector(Protocol):
    @property
    def detector(self) -> str: ...


T = TypeVar("T", bound=_OfDetector)


def load_beside(path: Path, kind: type[T], detector: Detector, *, verb: str) -> T | None:
    """A value of `kind` in the file `path`, which `verb` wrote beside `detector`; None where there is none.

    Raises `ArtifactError` where it is damaged or of another detector.
    """
    if not path.is_file():
        return None
    try:
        found = from_row(kind, read_checked(path))
    except (ValueError, OSError) as error:
        raise ArtifactError(f"{path} is damaged ({error}): run '{verb}' again") from error
    if found.detector != detector.content:
        raise ArtifactError(f"{path} is of another detector than the one beside it: run '{verb}' again")
    return found
