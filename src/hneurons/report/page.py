"""The frame that all pages share: the jinja environment, its filters, and one self-contained file at the end."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hneurons.core.errors import MissingExtraError
from hneurons.core.files import write_atomic
from hneurons.core.stats import Estimate
from hneurons.core.wording import UNKNOWN, interval, number, of_items, percent, points

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


def page_environment() -> "Environment":
    """Templates with their filters; an undefined name is an error. Raises `MissingExtraError` without jinja2."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtraError("jinja2", "report", "writing a report") from error
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "cell": cell, "interval": interval, "number": number, "of_items": of_items, "percent": percent,
        "points": points, "value": value, "words": words,
    }  # fmt: skip
    return environment


def render_page(template: str, values: Mapping[str, Any]) -> str:
    """A template filled in: a page, which extends `page.html` and refers to nothing outside, or a part of one."""
    return page_environment().get_template(template).render(values)


def write_page(path: Path, template: str, values: Mapping[str, Any]) -> Path:
    """Write the page and return its path. Raises `StorageError`, `MissingExtraError`."""
    write_atomic(path, render_page(template, values))
    return path


def words(name: str) -> str:
    """A name of the code as it is said: layer-matched."""
    return name.replace("_", "-")


def value(found: Any) -> str:
    """Any setting or number for people: missing as a dash, floats to four digits."""
    if found is None or found == "" or (isinstance(found, float) and math.isnan(found)):
        return UNKNOWN
    if isinstance(found, float):
        return f"{found:.4g}"
    if isinstance(found, list | tuple):
        return ", ".join(map(value, found)) or UNKNOWN
    return str(found)


def cell(found: Any) -> str:
    """A cell of a table of an audit: estimates with interval and n, numbers to four digits."""
    if isinstance(found, dict):
        if set(found) == {"value", "low", "high", "n"}:
            said = interval(Estimate.from_row(found), unknown=UNKNOWN)
            return said if said.endswith(f"n={found['n']})") else f"{said} n={found['n']}"
        return ", ".join(f"{key}: {cell(item)}" for key, item in found.items())
    return "; ".join(map(cell, found)) if isinstance(found, list) else value(found)
