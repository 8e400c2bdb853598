"""What the neurons add: stacks with and without them, answers alike in length or confidence, and one sentence."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hneurons.core.stats import (
    Estimate,
    auroc,
    bootstrap,
    bootstrap_aurocs,
    bootstrap_means,
    bounded_interval,
    percentile_interval,
    stratified_auroc,
)
from hneurons.core.wording import interval
from hneurons.detection.answer_rows import AnswerRows, Bools, Floats
from hneurons.detection.rivals.results import Stack
from hneurons.detection.scores.score import answer_log_probabilities, answer_span

DRAWS = 500
_ROUNDING = 1e-9
STRATA = 3


class Values(NamedTuple):
    """A score of training answers, each by a fit without its fold, and of test answers, float64 [rows] each."""

    train: Floats
    test: Floats


def confidence_features(rows: AnswerRows) -> dict[str, Floats]:
    """Log answer length in tokens and, where there are log-probabilities, their mean, least and sum."""
    spans = [answer_span(example) for example in rows.examples]
    found = {"answer length": np.log1p([float(end - begin) for begin, end in spans])}
    if all(example.response.logprobs for example in rows.examples):
        values = answer_log_probabilities(rows)
        for name, reduce in (("mean", np.mean), ("least", np.min), ("sum", np.sum)):
            found[f"{name} log-probability"] = np.array([float(reduce(v)) for v in values])
    return found


def stack_scores(
    train: AnswerRows, test: AnswerRows, neurons: Values, probe: Values | None, *, seed: int = 0
) -> tuple[Stack, ...]:
    """Confidence, and confidence with the residual probe, each without and with the detector's scores.

    The stacks are logistic regressions on the training answers. What is fitted itself enters by values of fits that
    did not see the answer.
    """
    known, new = confidence_features(train), confidence_features(test)
    names = [name for name in known if name in new]
    confidence = [Values(known[name], new[name]) for name in names]
    kinds = [("confidence", names, confidence)]
    if probe is not None:
        kinds.append(("confidence and residual probe", [*names, "residual probe"], [*confidence, probe]))
    return tuple(_stack(name, reads, parts, neurons, train, test, seed) for name, reads, parts in kinds)


def _stack(
    name: str,
    reads: Sequence[str],
    parts: Sequence[Values],
    neurons: Values,
    train: AnswerRows,
    test: AnswerRows,
    seed: int,
) -> Stack:
    odds = np.stack([_fit_stack(chosen, train.labels) for chosen in (parts, [*parts, neurons])], axis=1)
    areas = bootstrap_aurocs(test.labels, odds, groups=test.groups, seed=seed)
    points = [auroc(test.labels, column) for column in odds.T]
    signs = np.where(test.labels, -1.0, 1.0)[:, None]
    losses = np.logaddexp(0.0, signs * odds)
    saved = (losses[:, 0] - losses[:, 1])[:, None]
    n, units = len(set(test.groups)), test.fewest_groups
    alone, both = (bounded_interval(points[k], areas[:, k], n, units=units, lowest=0, highest=1) for k in range(2))
    return Stack(
        name=name,
        reads=tuple(reads),
        without=alone,
        with_neurons=both,
        added=bounded_interval(points[1] - points[0], areas[:, 1] - areas[:, 0], n, units=units, lowest=-1, highest=1),
        saved=percentile_interval(
            float(saved.mean()), bootstrap_means(saved, groups=test.groups, seed=seed, draws=2000)[:, 0], n
        ),
    )


def _fit_stack(parts: Sequence[Values], labels: Bools) -> Floats:
    """Log odds of the test answers, classes of equal weight."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    model.fit(np.stack([part.train for part in parts], axis=1), labels)
    return np.asarray(model.decision_function(np.stack([part.test for part in parts], axis=1)))


def area_within(labels: Bools, values: Floats, strata: Sequence[object], groups: Sequence[str]) -> Estimate:
    """AUROC over pairs of a wrong and a right answer of the same stratum."""
    codes = np.unique(np.asarray([str(stratum) for stratum in strata]), return_inverse=True)[1]
    areas = bootstrap_aurocs(labels, values[:, None], groups=groups, draws=DRAWS, strata=codes)[:, 0]
    n = len(set(groups))
    return bounded_interval(stratified_auroc(labels, values, codes), areas, n, units=n, lowest=0, highest=1)


def areas_within(test: AnswerRows, values: Floats) -> dict[str, Estimate]:
    """The detector among answers of like length, of like confidence, and of the same relation or source."""
    features = confidence_features(test)
    found = {"answer length": area_within(test.labels, values, _thirds(features["answer length"]), test.groups)}
    if "mean log-probability" in features:
        strata = _thirds(features["mean log-probability"])
        found["confidence"] = area_within(test.labels, values, strata, test.groups)
    relations = [e.question.relation or e.question.source for e in test.examples]
    if len(set(relations)) > 1:
        found["relation or source"] = area_within(test.labels, values, relations, test.groups)
    return found


def _thirds(values: Floats) -> list[int]:
    cuts = np.quantile(values, np.linspace(0, 1, STRATA + 1)[1:-1])
    return [int(number) for number in np.searchsorted(cuts, values, side="left")]


def partial_correlation(test: AnswerRows, values: Floats) -> Estimate:
    """Rank correlation of the detector with the class, the ranks of length and confidence taken out of both."""
    from scipy.stats import rankdata

    others = np.stack([rankdata(feature) for feature in confidence_features(test).values()], axis=1)
    ranks, labels = rankdata(values), test.labels.astype(np.float64)

    def statistic(rows: np.ndarray) -> float:
        design = np.column_stack([np.ones(len(rows)), others[rows]])
        left = np.stack([ranks[rows], labels[rows]], axis=1)
        whole = left.std(axis=0)
        left = left - design @ np.linalg.lstsq(design, left, rcond=None)[0]
        spread = left.std(axis=0)
        told = (spread > _ROUNDING * whole).all()  # few distinct rows are explained wholly, but for rounding
        return float((left[:, 0] * left[:, 1]).mean() / spread.prod()) if told else float("nan")

    return bootstrap(statistic, len(values), groups=test.groups, draws=DRAWS, bounds=(-1, 1))


def read_added(stacks: Sequence[Stack]) -> str:
    """One sentence: what the neurons add to cheaper things, or that it is nothing that was shown."""
    first, last = stacks[0], stacks[-1]
    if last.added.low > 0 and first.added.low > 0:
        return f"The neurons add {interval(last.added)} AUROC to {last.name}."
    if first.added.low > 0:
        return (
            f"The neurons add {interval(first.added)} AUROC to {first.name}, and nothing that was shown to "
            f"{last.name} ({interval(last.added)})."
        )
    if first.added.high < 0:
        return f"The neurons add nothing to {first.name}, they make it worse: {interval(first.added)} AUROC."
    return f"The neurons add nothing that was shown to {first.name}: {interval(first.added)} AUROC."


def correct_holm(values: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected for all of them (Holm 1979)."""
    found, least = dict[str, float](), 0.0
    for place, name in enumerate(sorted(values, key=lambda name: values[name])):
        least = max(least, min(1.0, (len(values) - place) * values[name]))
        found[name] = least
    return {name: found[name] for name in values}


def two_sided(draws: Floats) -> float:
    """Bootstrap p-value that a difference is 0: twice the smaller share of draws on either side."""
    kept = draws[np.isfinite(draws)]
    if not len(kept):
        return float("nan")
    below, above = int((kept <= 0).sum()), int((kept >= 0).sum())
    return float(min(1.0, 2 * (1 + min(below, above)) / (1 + len(kept))))
