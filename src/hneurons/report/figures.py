"""The look of every figure: colours, lines, and inline SVG that follows the page into the dark.

Methods, datasets and classes differ in marker, line or place as well as in colour, so the pages print in grey.
"""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any, NamedTuple

from hneurons.core.errors import MissingExtraError

INK, SOFT, RULE, BAND = "#22201c", "#6b665d", "#e6e2da", "#d5cfc3"
FRONT, SECOND, THIRD, FOURTH, FIFTH = "#b3400a", "#1f5f8b", "#3d7a4a", "#7a4a8b", "#8a6d1f"
PAPER = "#ffffff"
COLOURS = (FRONT, SECOND, THIRD, FOURTH, FIFTH)
LINES = (("-", FRONT), ("--", SECOND), ("-.", THIRD), (":", FOURTH), ((0, (5, 1, 1, 1, 1, 1)), FIFTH))
WIDTH = 5.2  # inches
_VARIABLES = {
    INK: "ink", SOFT: "soft", RULE: "rule", BAND: "band", FRONT: "front", SECOND: "second", THIRD: "third",
    FOURTH: "fourth", FIFTH: "fifth", PAPER: "paper",
}  # fmt: skip


class Plot(NamedTuple):
    """A canvas being drawn on: its axes from top to bottom, and `svg()`, which gives the drawing."""

    canvas: Any
    axes: list[Any]
    svg: Callable[[], str]


@contextmanager
def plot_figure(title: str, height: float, *, rows: int = 1, width: float = WIDTH) -> Iterator[Plot]:
    """A canvas of `width` x `height` inches with `rows` axes that share x, in the pages' look; `title` is its text.

    Raises `MissingExtraError` without matplotlib.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report", "writing a report") from error
    from matplotlib.figure import Figure

    look: dict[Any, Any] = {
        "svg.fonttype": "none", "svg.hashsalt": title, "font.size": 10, "font.family": "sans-serif",
        "axes.edgecolor": SOFT, "axes.labelcolor": INK, "text.color": INK, "xtick.color": SOFT, "ytick.color": SOFT,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": RULE,
        "grid.linewidth": 0.6, "axes.axisbelow": True, "legend.frameon": False, "legend.fontsize": 9,
        "axes.facecolor": "none",
    }  # fmt: skip
    with matplotlib.rc_context(look):
        canvas = Figure(figsize=(width, height), layout="constrained", facecolor="none")
        axes = canvas.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
        yield Plot(canvas, list(axes), lambda: _svg(canvas, title))


def _svg(canvas: Any, title: str) -> str:
    stream = io.StringIO()
    canvas.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    prefix = re.sub(r"\W+", "-", title.lower())
    text = re.sub(r'\bid="', f'id="{prefix}-', text)  # several drawings share one page
    text = text.replace("url(#", f"url(#{prefix}-").replace('href="#', f'href="#{prefix}-')
    for colour, name in _VARIABLES.items():  # the page's own colours, which are others in the dark
        text = text.replace(f": {colour}", f": var(--{name}, {colour})")
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(title, quote=True)}" ', 1)
