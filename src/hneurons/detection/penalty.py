"""Which point of the penalty path: the lowest log-loss on held-out answers, with the path long enough to show it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hneurons.core.errors import NotEnoughDataError
from hneurons.core.stats import Estimate, auroc, bootstrap_aurocs, bounded_interval
from hneurons.detection.answer_rows import Floats, even_odds
from hneurons.sparse.cross_validation import CrossValidation, cross_validate_path
from hneurons.sparse.inner import log_loss_rows
from hneurons.sparse.matrix import ColumnMatrix
from hneurons.sparse.path import RATIOS, row_weights

DECADES = 3  # the smallest penalty tried is 10 ** -DECADES of the largest that selects a neuron


class Validated(NamedTuple):
    """A cross-validated path and its held-out answers.

    `losses` and `areas` are means over folds of log-loss and AUROC on held-out answers at each point, NaN where a
    fold lacks it.

    `edge` says in words why the lowest loss may lie beyond the path. It is empty where the path goes on behind it.
    """

    found: CrossValidation
    losses: Floats
    areas: Floats
    edge: str

    @property
    def best(self) -> int:
        """The point of lowest log-loss. Raises `NotEnoughDataError` where no point is scored in every fold."""
        if np.isnan(self.losses).all():
            raise NotEnoughDataError("no point of the path was reached and scored in every fold: use fewer folds")
        return int(np.nanargmin(self.losses))


def validate_path(
    matrix: ColumnMatrix,
    positive: NDArray[np.int64],
    groups: Sequence[str],
    is_answer: NDArray[np.bool_],
    *,
    C: float | None,
    folds: int,
    seed: int,
    standardize: bool,
    out: Path | None,
) -> Validated:
    """Cross-validate the path on groups of questions, a decade of penalties further while its last point is the best.

    It ends where the loss has risen again, where the solver stops (too many columns, or classes that are separated), or
    at 10 ** -`DECADES` of the largest penalty. With `C` there is only that one.
    """
    ratios: tuple[float, ...] = ()
    for decade in range(DECADES):
        ratios += tuple(ratio * 10.0**-decade for ratio in RATIOS)
        penalty: dict[str, Any] = {"ratios": ratios} if C is None else {"C": [C]}
        place = "cross-validation" if not decade else f"cross-validation-{len(ratios)}"
        found = cross_validate_path(
            matrix,
            positive,
            groups,
            folds=folds,
            seed=seed,
            class_weight="balanced",
            standardize=standardize,
            out=None if out is None else out / place,
            **penalty,
        )
        losses = answer_losses(found, positive, is_answer)
        edge = "" if C is not None else _find_edge(found, losses, len(ratios))
        if not edge or len(found.path.lambdas) < len(ratios) or np.isnan(losses).any():
            break
    return Validated(found, losses, _held_out_aurocs(found, positive, is_answer), edge)


def answer_losses(found: CrossValidation, positive: NDArray[np.int64], is_answer: NDArray[np.bool_]) -> Floats:
    """Mean over folds of the log-loss on held-out answer rows, classes balanced; NaN where a fold lacks the point.

    Where rows of other tokens were trained on, too, their share decides the intercept. It is then put where held-out
    answers have even odds, since the threshold of the detector is put there as well.
    """
    if is_answer.all():
        return found.mean("log_loss")
    labels, folds = positive[is_answer], found.folds[is_answer]
    weights = row_weights(labels.astype(np.float64), "balanced")
    losses = []
    for decisions in found.decisions[:, is_answer]:
        if np.isnan(decisions).any():
            losses.append(np.nan)
            continue
        rows = log_loss_rows(decisions - even_odds(decisions, labels), labels.astype(np.float64))
        losses.append(np.mean([np.average(rows[folds == f], weights=weights[folds == f]) for f in np.unique(folds)]))
    return np.array(losses)


def held_out_interval(decisions: Floats, positive: NDArray[np.int64], groups: Sequence[str], *, seed: int) -> Estimate:
    """AUROC of held-out answers over all folds, with its 95% interval over questions."""
    labels = positive > 0
    draws = bootstrap_aurocs(labels, decisions[:, None], groups=groups, seed=seed)[:, 0]
    fewest = min(len({g for g, wrong in zip(groups, labels, strict=True) if wrong == kind}) for kind in (True, False))
    return bounded_interval(auroc(labels, decisions), draws, len(set(groups)), units=fewest, lowest=0, highest=1)


def _find_edge(found: CrossValidation, losses: Floats, tried: int) -> str:
    """Why the lowest loss may lie beyond the last point that every fold reached; empty where it does not."""
    reached = np.flatnonzero(~np.isnan(losses))
    if not len(reached) or int(np.nanargmin(losses)) < reached[-1]:
        return ""
    if len(reached) == tried:
        return f"it is the smallest penalty tried, {found.path.ratios[-1]:.2g} of the largest that selects a neuron"
    return found.path.stopped or "the path of a fold ends there"


def _held_out_aurocs(found: CrossValidation, positive: NDArray[np.int64], is_answer: NDArray[np.bool_]) -> Floats:
    """Mean over folds of the AUROC on held-out answer rows, at each point of the path; NaN where one is missing."""
    labels, folds = positive[is_answer], found.folds[is_answer]
    points = []
    for decisions in found.decisions[:, is_answer]:
        scored = [auroc(labels[folds == fold], decisions[folds == fold]) for fold in np.unique(folds)]
        points.append(np.nan if np.isnan(decisions).any() else float(np.mean(scored)))
    return np.array(points)
