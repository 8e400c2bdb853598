"""Intervals that include refitting: everything is fitted again on resampled training questions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hneurons.core.errors import NotEnoughDataError
from hneurons.core.seeds import derive_seed
from hneurons.core.stats import Estimate, bootstrap_aurocs, percentile_interval
from hneurons.detection.answer_rows import AnswerRows, Bools, Floats, Indices
from hneurons.detection.detector import Detector
from hneurons.detection.fitting import training_rows
from hneurons.detection.scores.score import Refit
from hneurons.neurons.contributions import Contributions
from hneurons.sparse.path import MEMORY, SparsePath
from hneurons.sparse.resampled import fit_resampled

PER_REFIT = 40
"""Resamples of the test questions a refit, so that fifty refits give 2,000 draws."""


class Refitted(NamedTuple):
    """Values of one test set by a refit of the detector, and by its positive part alone, float64 [rows] each."""

    detector: Floats
    positive: Floats


def refit_detector(
    detector: Detector, contributions: Contributions, tests: Sequence[AnswerRows], counts: Sequence[Mapping[str, int]]
) -> list[list[Refitted]] | None:
    """What every refit says of every test set, the penalty's place on the path being kept.

    counts: how often each resample has each group of training questions. None where a resample lacks a class, or the
    detector was fitted on other contributions.
    """
    settings = detector.settings
    if detector.data.get("contributions") != contributions.content or "path" not in settings:
        return None
    rows = training_rows(contributions, settings["labels"])
    ratios = [point["lambda_ratio"] for point in settings["path"][: settings["chosen"] + 1]]
    drawn = [np.array([float(count.get(group, 0)) for group in rows.groups]) for count in counts]
    try:
        paths = fit_resampled(
            contributions.matrix(rows.numbers), rows.positive, drawn, ratios=ratios, class_weight="balanced",
            standardize=settings["columns"] == "standardized",
        )  # fmt: skip
    except NotEnoughDataError:
        return None
    return [[_decide(path, test) for test in tests] for path in paths]


def _decide(path: SparsePath, test: AnswerRows) -> Refitted:
    if not len(path.lambdas):
        return Refitted(np.zeros(len(test.labels)), np.zeros(len(test.labels)))
    positive = path.coef[-1] > 0
    columns = test.matrix.gather(path.columns[positive], MEMORY).astype(np.float64)
    return Refitted(path.decide(test.matrix)[-1], path.coef[-1][positive] @ columns)


def resample_groups(groups: Sequence[str], draws: int, seed: int) -> list[Counter[str]]:
    """How often each of `draws` bootstrap resamples has each group."""
    names = sorted(set(groups))
    rngs = (np.random.default_rng(derive_seed("refit", seed, draw)) for draw in range(draws))
    return [Counter(names[i] for i in rng.integers(len(names), size=len(names)).tolist()) for rng in rngs]


def resampled_rows(groups: Sequence[str], counts: Mapping[str, int]) -> Indices:
    """Row numbers of a resample, a row as often as its group was drawn."""
    return np.repeat(np.arange(len(groups)), [counts.get(group, 0) for group in groups])


def refit_scores(
    train: AnswerRows, counts: Sequence[Mapping[str, int]], refitters: Mapping[str, Refit], *, every: int = 1
) -> dict[str, list[Floats]]:
    """Values of the test answers by every refit on each `every`-th resample that has both classes, by method."""
    found: dict[str, list[Floats]] = {name: [] for name in refitters}
    for count in counts[::every]:
        rows = resampled_rows(train.groups, count)
        labels: Bools = train.labels[rows]
        if labels.any() and not labels.all():
            for name, refit in refitters.items():
                found[name].append(refit(rows))
    return found


def refitted_intervals(
    values: Mapping[str, Sequence[Floats]], test: AnswerRows, points: Mapping[str, float], *, seed: int = 0
) -> dict[str, Estimate]:
    """AUROC as it was found, with an interval over refits and, for each, resampled test questions.

    The draws are centred on the value found. A resample holds 63% of the distinct training questions, so that refits
    do worse on average than the fit on all, which is no part of its uncertainty. Fewer refits have more draws each.
    """
    n = len(set(test.groups))
    most = max((len(found) for found in values.values()), default=0)
    draws: dict[str, list[Floats]] = {}
    for number in range(most):
        for times in sorted({len(found) for found in values.values() if len(found) > number}):
            names = [name for name, found in values.items() if len(found) == times]
            columns = np.stack([values[name][number] for name in names], axis=1)
            areas = bootstrap_aurocs(
                test.labels, columns, groups=test.groups, seed=derive_seed("refit test", seed, number),
                draws=PER_REFIT * most // times,
            )  # fmt: skip
            for name, column in zip(names, areas.T, strict=True):
                draws.setdefault(name, []).append(column)
    found_draws = {name: np.concatenate(parts) for name, parts in draws.items()}
    return {
        name: percentile_interval(points[name], np.clip(drawn - np.nanmean(drawn) + points[name], 0, 1), n)
        for name, drawn in found_draws.items()
    }
