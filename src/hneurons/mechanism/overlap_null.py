"""How many neurons two fits share where no label means anything: labels permuted over questions, both fitted again.

Two fits do not draw neurons uniformly. On raw columns the largest are chosen whatever the labels, and questions that
both fits were trained on pull them together. Sets that are fitted to permuted labels in the same way carry both.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hneurons.core.errors import InputError, NotEnoughDataError
from hneurons.core.progress import progress
from hneurons.core.seeds import derive_seed
from hneurons.detection.detector import Detector
from hneurons.detection.fitting import training_rows
from hneurons.neurons.contributions import Contributions
from hneurons.sparse.path import RATIOS, fit_path

DRAWS = 100
_ROOM = 8  # columns that a path of permuted labels may hold for each H-neuron that is wanted


class Fit(NamedTuple):
    """A detector and the contributions it was fitted on."""

    detector: Detector
    contributions: Contributions


class OverlapNull(NamedTuple):
    """`shared`: neurons that both sets have in common under each permutation; `questions`: those trained on in both."""

    shared: tuple[int, ...]
    questions: int


def permute_overlap(a: Fit, b: Fit, *, draws: int = DRAWS, seed: int = 0) -> OverlapNull:
    """Fit both again to permuted labels, `draws` times, and count the neurons they share.

    A permutation gives every question a place in one random order for both fits. A question which both were trained on
    so has the same label in both, as far as their numbers of wrong answers allow. Each fit takes the strongest
    positive weights, as many as it has H-neurons, at the first penalty that selects so many.

    Raises:

    - `InputError` for a detector that was not fitted on the contributions given with it.
    - `NotEnoughDataError` for a detector without H-neurons.
    """
    for fit in (a, b):
        if fit.detector.data.get("contributions") != fit.contributions.content:
            raise InputError(
                f"the detector of {fit.detector.identity.name} was not fitted on the contributions beside it: "
                "run 'fit' again"
            )
        if not len(fit.detector.neuron_set()):
            raise NotEnoughDataError("a detector without H-neurons shares none: fit with a weaker penalty")
    questions = [sorted({str(row["question_id"]) for row in fit.contributions.rows}) for fit in (a, b)]
    everything = sorted(set(questions[0]) | set(questions[1]))
    shared = []
    with progress("permutations", draws) as advance:
        for draw in range(draws):
            order = np.random.default_rng(derive_seed("overlap under permuted labels", seed, draw))
            places = dict(zip(everything, order.permutation(len(everything)).tolist(), strict=True))
            first, second = (_select(fit, _permute(fit.contributions, places)) for fit in (a, b))
            shared.append(len(first & second))
            advance()
    return OverlapNull(tuple(shared), len(set(questions[0]) & set(questions[1])))


def _permute(contributions: Contributions, places: dict[str, int]) -> Contributions:
    """The questions of lowest place are the wrong ones, as many as were wrong."""
    wrong = {str(row["question_id"]): bool(row["hallucinated"]) for row in contributions.rows}
    ordered = sorted(wrong, key=places.__getitem__)
    now = dict.fromkeys(ordered[: sum(wrong.values())], True)
    rows = [{**row, "hallucinated": now.get(str(row["question_id"]), False)} for row in contributions.rows]
    return replace(contributions, rows=rows)


def _select(fit: Fit, permuted: Contributions) -> set[int]:
    """The columns of the strongest positive weights, as many as the fit has H-neurons."""
    settings, wanted = fit.detector.settings, len(fit.detector.neuron_set())
    rows = training_rows(permuted, settings["labels"])
    matrix = permuted.matrix(rows.numbers)
    ratios: Sequence[float] = RATIOS
    while True:
        path = fit_path(
            matrix,
            rows.positive,
            ratios=ratios,
            class_weight="balanced",
            standardize=settings["columns"] == "standardized",
            max_features=max(64, _ROOM * wanted),
        )
        enough = np.flatnonzero((path.coef > 0).sum(axis=1) >= wanted)
        if len(enough) or path.stopped or ratios[-1] < 1e-3:
            break
        ratios = (*ratios, *(ratio * ratios[-1] for ratio in RATIOS))
    point = int(enough[0]) if len(enough) else len(path.lambdas) - 1
    weights: NDArray[np.float64] = path.weights[point]
    strongest = np.argsort(-weights, kind="stable")[:wanted]
    return {int(path.columns[i]) for i in strongest if weights[i] > 0}
