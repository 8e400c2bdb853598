"""Values as people meet them in Python: one line at the prompt, a table in a notebook, a data frame of pandas."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from hneurons.core.errors import MissingExtraError
from hneurons.core.wording import printable

if TYPE_CHECKING:
    from pandas import DataFrame

LINE = 120
"""Characters of the longest line."""


def one_line(value: object, *facts: str) -> str:
    """The name of the value's class with facts in brackets, at most `LINE` characters; empty facts are left out."""
    name = type(value).__name__
    said, room = " ".join(printable(", ".join(filter(None, facts))).split()), LINE - len(name) - 2
    return f"{name}({said if len(said) <= room else f'{said[: room - 1]}…'})"


def html_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of plain text as HTML, every character of which is escaped."""
    lines = [f"<caption>{_text(caption)}</caption>", _row("th", head), *(_row("td", row) for row in rows)]
    return f"<table>{''.join(lines)}</table>"


def _row(tag: str, cells: Sequence[object]) -> str:
    return f"<tr>{''.join(f'<{tag}>{_text(str(cell))}</{tag}>' for cell in cells)}</tr>"


def _text(text: str) -> str:
    return escape(printable(text))


def data_frame(columns: Mapping[str, Any], *, index: str | None = None) -> "DataFrame":
    """Columns as a data frame of pandas, the one named `index` as its index. Raises `MissingExtraError` without it."""
    try:
        from pandas import DataFrame
    except ImportError as error:
        raise MissingExtraError("pandas", "pandas", "a data frame") from error
    frame = DataFrame(columns)
    return frame if index is None else frame.set_index(index)
