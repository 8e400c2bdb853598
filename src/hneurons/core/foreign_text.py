"""Text files that others wrote: unpacked within a limit, decoded whatever mark they begin with."""

import codecs
import gzip
import zlib
from pathlib import Path

from hneurons.core.errors import InputError

MAX_BYTES = 1 << 30
"""A file that unpacks to more is refused, as gzip can make a thousandfold of a few bytes."""

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def read_foreign_text(path: Path) -> str:
    """A text file's content, unpacked where its name ends in .gz. Raises `InputError` where it cannot be read."""
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        coding = next((coding for mark, coding in _MARKS if data.startswith(mark)), "utf-8")
        if len(data) > MAX_BYTES:
            raise InputError(f"{path} holds more than {MAX_BYTES >> 30} GiB of text: split it into smaller files")
        return data.decode(coding)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): check that it is a whole, real text file") from error


def mend_characters(text: str) -> str:
    """The text with U+FFFD for every lone surrogate, which is no character and cannot be written or encoded."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
