"""The kinds of rows an audit reads, and the strict reading of one row: a bad field names its column."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from hneurons.core.foreign_text import mend_characters
from hneurons.core.rows import load_json
from hneurons.records.record import Record


@dataclass(frozen=True, slots=True)
class Prediction:
    """A detector's verdict on one item: label 1 = hallucinated, probability of 1, prediction at its threshold."""

    id: str
    label: int
    probability: float
    prediction: int | None = None


@dataclass(frozen=True, slots=True)
class PathPoint:
    """One fit of a regularisation path; with layer and neuron, the place of that neuron in the fit."""

    penalty: float
    accuracy: float | None = None
    n_nonzero: int | None = None
    n_positive: int | None = None
    layer: int | None = None
    neuron: int | None = None
    weight: float | None = None
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class NeuronRow:
    """What is known of one selected neuron (or attention head, in the same fields)."""

    layer: int
    neuron: int
    condition: str = ""
    weight: float | None = None
    rank: int | None = None
    auroc: float | None = None
    ablation_drop: float | None = None
    max_correlation: float | None = None
    truth_d: float | None = None
    length_d: float | None = None


@dataclass(frozen=True, slots=True)
class LayerOverlap:
    """Overlap of one layer's scaled output with the refusal direction, beside layer-matched random sets."""

    layer: int
    n_neurons: int
    signed_cosine: float
    signed_null_mean: float
    signed_null_p95: float
    subspace: float
    subspace_null_mean: float
    subspace_null_p95: float


@dataclass(frozen=True, slots=True)
class ItemOverlap:
    """Overlap on one prompt and that prompt's measured effect (the slope of its outcome on alpha).

    `layers`: layer -> [signed cosine, subspace share], where recorded; the prompt's own figures are their means.
    """

    id: str
    benchmark: str
    signed_cosine: float
    subspace: float
    effect: float | None = None
    group: str | None = None
    layers: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class NullOverlap:
    """Mean overlap of one random set."""

    signed_cosine: float
    subspace: float


@dataclass(frozen=True, slots=True)
class Rating:
    """One rater's label of one response; the rater "gold" is the human."""

    id: str
    alpha: float
    rater: str
    label: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """One setting tried while tuning, and the score that decided."""

    name: str
    score: float
    n: int | None = None


Row = Record | Prediction | PathPoint | NeuronRow | LayerOverlap | ItemOverlap | NullOverlap | Rating | Candidate
ROW_KINDS: dict[str, type[Row]] = {
    "outcomes": Record,
    "predictions": Prediction,
    "penalty_path": PathPoint,
    "neurons": NeuronRow,
    "layer_overlap": LayerOverlap,
    "item_overlap": ItemOverlap,
    "null_overlap": NullOverlap,
    "ratings": Rating,
    "candidates": Candidate,
}


class FieldError(ValueError):
    """A field that cannot be read: its column and why."""

    def __init__(self, column: str, reason: str) -> None:
        super().__init__(f"column '{column}': {reason}")
        self.column, self.reason = column, reason


def _text(value: Any) -> str:
    return mend_characters(value if isinstance(value, str) else str(value))


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("is not finite")
    return number


def _integer(value: Any) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError("is no whole number")
    return int(number)


def _share(value: Any) -> float:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return float(value.lower() == "true")
    number = _number(value)
    if not 0 <= number <= 1:
        raise ValueError("is not between 0 and 1")
    return number


def _positive(value: Any) -> float:
    number = _number(value)
    if number <= 0:
        raise ValueError("is not above 0")
    return number


def _boolean(value: Any) -> bool:
    number = _share(value)
    if number not in (0, 1):
        raise ValueError("is neither true nor false")
    return bool(number)


def _array(value: Any) -> tuple[Any, ...]:
    if isinstance(value, str):
        value = load_json(value) if value.startswith("[") else list(value)
    if not isinstance(value, list | tuple):
        raise ValueError("is no list")
    return tuple(value)


def _spans(value: Any) -> tuple[Any, ...]:
    """[start, end, valid]; a start or end that the judge could not place is kept as null and is not valid."""
    spans = []
    for span in _array(value):
        if not isinstance(span, list | tuple) or len(span) < 2:
            raise ValueError("is no list of [start, end] pairs")
        start, end = (None if edge is None else _integer(edge) for edge in span[:2])
        placed = start is not None and end is not None and 0 <= start < end
        spans.append([start, end, int(placed and bool(span[2] if len(span) > 2 else 1))])
    return tuple(spans)


def _choices(value: Any) -> dict[str, str]:
    """{label: text}, or the {"label": [...], "text": [...]} that some data sets use."""
    if isinstance(value, str):
        value = load_json(value)
    if not isinstance(value, dict):
        raise ValueError("is no mapping of option labels to texts")
    if set(value) == {"label", "text"} and isinstance(value["label"], list):
        value = dict(zip(value["label"], value["text"], strict=True))
    return {_text(label): _text(text) for label, text in value.items()}


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("is no mapping")
    return value


def _grade(value: Any) -> str:
    if value not in ("CORRECT", "INCORRECT", "NOT_ATTEMPTED"):
        raise ValueError("is none of CORRECT, INCORRECT, NOT_ATTEMPTED")
    return str(value)


_TEXT: tuple[str, ...] = (
    "id",
    "condition",
    "choice",
    "key",
    "parse",
    "response",
    "digest",
    "finish_reason",
    "judge",
    "group",
    "error",
)
_TEXT += ("benchmark", "rater", "label", "name")
_INTEGERS = ("layer", "neuron", "rank", "n", "n_nonzero", "n_positive", "n_neurons", "chars", "n_tokens")
_READERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_TEXT, _text),
    **dict.fromkeys(_INTEGERS, _integer),
    "outcome": _share,
    "attempted": _boolean,
    "grade": _grade,
    "loglik": lambda value: tuple(_number(item) for item in _array(value)),
    "true_options": lambda value: tuple(_integer(item) for item in _array(value)),
    "option_tokens": lambda value: tuple(_integer(item) for item in _array(value)),
    "aliases": lambda value: tuple(_text(item) for item in _array(value)),
    "spans": _spans,
    "choices": _choices,
    "rubric": _mapping,
    "layers": _mapping,
    "prediction": lambda value: int(_boolean(value)),
    "probability": _share,
    "penalty": _positive,
}
_MAY_BE_EMPTY = ("choice", "response", "condition")


def read_row(kind: type[Row], row: dict[str, Any]) -> Row:
    """The row as `kind`. Raises `FieldError` naming the first column that is missing or cannot be read."""
    found: dict[str, Any] = {}
    for field in fields(kind):
        name, value = field.name, row.get(field.name)
        if value is None or (value == "" and name not in _MAY_BE_EMPTY):
            continue
        reader = _READERS["prediction"] if (name == "label" and kind is Prediction) else _READERS.get(name, _number)
        try:
            found[name] = reader(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise FieldError(name, f"'{_shown(value)}' {_reason(error)}") from error
    try:
        return kind(**found)
    except TypeError as error:
        missing = next(f.name for f in fields(kind) if f.name not in found and f.name in str(error))
        raise FieldError(missing, "is missing") from error


def _shown(value: Any) -> str:
    try:
        text = str(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, or lists in lists in lists
        return f"a {type(value).__name__}"
    return text if len(text) <= 40 else f"{text[:40]}…"


def _reason(error: Exception) -> str:
    text = str(error)
    return text if text.startswith("is ") else "cannot be read as a number" if "convert" in text else f"({text})"
