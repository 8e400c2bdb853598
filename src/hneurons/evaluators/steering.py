"""What an evaluator's user gives to have neurons scaled: a folder and alpha, checked before any model is loaded."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from hneurons.core.errors import HNeuronsError, InputError
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.neurons.opening import open_neurons


class Steered(NamedTuple):
    """Neurons and the factor they are scaled by."""

    neurons: NeuronSet
    alpha: float


def read_steering(neurons: object, alpha: object) -> Steered | None:
    """The neurons, named as in `open_neurons`, and alpha; None, the plain model, where neither is given.

    Raises `InputError` where one is given without the other and for an alpha that is no finite number, and what
    `open_neurons` raises.
    """
    if neurons is None and alpha is None:
        return None
    if neurons is None or alpha is None:
        given, lacking = ("alpha", "neurons=FOLDER") if neurons is None else ("neurons", "alpha=NUMBER")
        raise InputError(f"{given} was given without {lacking}: give both, or neither for the plain model")
    return Steered(open_neurons(str(neurons)), _number(alpha))


@contextmanager
def loading_errors(model: str) -> Iterator[None]:
    """Turn what a loader says about a model that is not there, or damaged, into one sentence, an `InputError`."""
    try:
        yield
    except HNeuronsError:
        raise
    except Exception as error:  # a damaged checkpoint fails wherever its values happen to lead the loader
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise InputError(
            f"could not load the model '{model}' ({reason}): give a whole checkpoint, and arguments that suit it"
        ) from error


def check_count(name: str, value: object) -> None:
    """Raise `InputError` where an argument that counts something is neither left out nor a whole number above 0."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise InputError(f"{name} should be a whole number from 1 up, found '{value}'")


def _number(alpha: object) -> float:
    try:
        number = float(str(alpha))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"alpha should be a finite number such as 0, 0.5 or 2, found '{alpha}'")
    return number
