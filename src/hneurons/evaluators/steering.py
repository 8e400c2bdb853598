"""What an evaluator's user gives to have a model changed: a folder and alpha, or an intervention."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from hneurons.core.errors import HNeuronsError, InputError
from hneurons.core.seeds import fingerprint
from hneurons.neurons.opening import open_neurons

if TYPE_CHECKING:
    from hneurons.interventions.intervention import Intervention


class Steered(NamedTuple):
    """An intervention, and what a log says about it."""

    intervention: "Intervention"
    about: dict[str, Any]


def read_steering(neurons: object, alpha: object, intervention: "Intervention | None" = None) -> Steered | None:
    """The neurons, named as in `open_neurons`, scaled by alpha, or the intervention that was given.

    Returns None, the plain model, where nothing is given. Raises what `open_neurons` raises, and `InputError` for:

    - one of neurons and alpha without the other, or beside an intervention;
    - an alpha that is no finite number;
    - an intervention that does not act at all positions, as prompts cannot be told from replies.
    """
    from hneurons.interventions.scaling import NeuronScaling

    if intervention is not None:
        if neurons is not None or alpha is not None:
            raise InputError("an intervention was given beside neurons or alpha: give one or the other")
        if intervention.scope != "all" or intervention.when is not None:
            raise InputError(
                "an evaluator intervenes at all positions: give an intervention of scope 'all' without gate"
            )
        about = {"alpha": intervention.alpha, "intervention": fingerprint(intervention.identity())}
        return Steered(intervention, about)
    if neurons is None and alpha is None:
        return None
    if neurons is None or alpha is None:
        given, lacking = ("alpha", "neurons=FOLDER") if neurons is None else ("neurons", "alpha=NUMBER")
        raise InputError(f"{given} was given without {lacking}: give both, or neither for the plain model")
    chosen, factor = open_neurons(str(neurons)), _number(alpha)
    about = {"alpha": factor, "neurons": fingerprint(chosen.columns.tolist()), "n_neurons": len(chosen)}
    return Steered(NeuronScaling(chosen, factor), about)


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
