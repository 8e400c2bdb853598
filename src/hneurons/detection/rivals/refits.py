"""Intervals that include refitting: everything is fitted again on resampled training questions."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hneurons.core.errors import NotEnoughDataError
from hneurons.core.seeds import derive_seed
from hneurons.core.stats import Estimate, bootstrap_aurocs, percentile_interval
from hneurons.detection.answer_rows import AnswerRows, Bools, Floats, Indices
from hneurons.detection.detector import Detector
from hneurons.detection.evaluation import DETECTOR
from hneurons.detection.fitting import training_rows
from hneurons.detection.ridge import Products, Ridge, refit_dual
from hneurons.detection.scores import FittedScore
from hneurons.neurons.contributions import Contributions
from hneurons.sparse.resampled import fit_resampled

PER_REFIT = 40
"""Resamples of the test questions a refit, so that fifty refits give 2,000 draws."""


class RidgeRival(NamedTuple):
    """A ridge score as it was fitted: its refits keep the penalty, and for a probe its layer."""

    products: Products
    ridge: Ridge


def refit_detector(
    detector: Detector, contributions: Contributions, tests: Sequence[AnswerRows], counts: Sequence[Mapping[str, int]]
) -> list[list[Floats]] | None:
    """Decision values of every refit on every test set, the penalty's place on the path being kept.

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
    return [[path.decide(test.matrix)[-1] if len(path.lambdas) else np.zeros(len(test.labels)) for test in tests]
            for path in paths]  # fmt: skip


def resample_groups(groups: Sequence[str], draws: int, seed: int) -> list[Counter[str]]:
    """How often each of `draws` bootstrap resamples has each group."""
    names = sorted(set(groups))
    rngs = (np.random.default_rng(derive_seed("refit", seed, draw)) for draw in range(draws))
    return [Counter(names[i] for i in rng.integers(len(names), size=len(names)).tolist()) for rng in rngs]


def resampled_rows(groups: Sequence[str], counts: Mapping[str, int]) -> Indices:
    """Row numbers of a resample, a row as often as its group was drawn."""
    return np.repeat(np.arange(len(groups)), [counts.get(group, 0) for group in groups])


def refit_values(
    train: AnswerRows,
    test: AnswerRows,
    counts: Sequence[Mapping[str, int]],
    ridges: Mapping[str, RidgeRival],
    fitted: Mapping[str, FittedScore],
    detector: Sequence[Floats] | None,
) -> Iterator[dict[str, Floats]]:
    """Values of the test answers by method for each resample that has both classes."""
    for number, count in enumerate(counts):
        rows = resampled_rows(train.groups, count)
        labels: Bools = train.labels[rows]
        if labels.all() or not labels.any():
            continue
        again = train._replace(
            examples=[train.examples[i] for i in rows], labels=labels, groups=[train.groups[i] for i in rows]
        )
        found = {name: score.decide(again, test).values for name, score in fitted.items()}
        for name, rival in ridges.items():
            dual = refit_dual(rival.products.train, train.labels, rows, rival.ridge.penalty)
            found[name] = rival.products.tests[0][:, rows] @ dual
        if detector is not None:
            found[DETECTOR] = detector[number]
        yield found


def refitted_intervals(
    values: Sequence[Mapping[str, Floats]], test: AnswerRows, points: Mapping[str, float], *, seed: int = 0
) -> dict[str, Estimate]:
    """AUROC as it was found, with an interval over refits and, for each, resampled test questions.

    The draws are centred on the value found. A resample holds 63% of the distinct training questions, so that refits
    do worse on average than the fit on all, which is no part of its uncertainty.
    """
    draws: dict[str, list[Floats]] = {}
    for number, found in enumerate(values):
        names, columns = list(found), np.stack(list(found.values()), axis=1)
        areas = bootstrap_aurocs(
            test.labels, columns, groups=test.groups, seed=derive_seed("refit test", seed, number), draws=PER_REFIT
        )
        for name, column in zip(names, areas.T, strict=True):
            draws.setdefault(name, []).append(column)
    n = len(set(test.groups))
    found_draws = {name: np.concatenate(parts) for name, parts in draws.items()}
    return {
        name: percentile_interval(points[name], np.clip(drawn - np.nanmean(drawn) + points[name], 0, 1), n)
        for name, drawn in found_draws.items()
    }
