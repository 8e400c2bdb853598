"""Stage `evaluate`: the detector on natural samples of unseen questions, beside random neurons and rival scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hneurons.core.artifacts import FileStage, read_result
from hneurons.core.progress import progress
from hneurons.core.rows import Row, dump_json, from_row, load_json
from hneurons.core.stats import BOOTSTRAPS, Estimate, auroc, bootstrap_aurocs, bootstrap_means, bounded_interval
from hneurons.detection.answer_rows import (
    AnswerRows,
    Dataset,
    Decided,
    Floats,
    Indices,
    answer_rows,
    check_both_classes,
    check_unseen,
    refit,
)
from hneurons.detection.detector import Detector
from hneurons.detection.scores import Scored, Scores, check_scores, score_rows
from hneurons.neurons.controls import draw_sets

STAGE = "evaluation"
RESULT = "evaluation.json"
DETECTOR, REFITTED, RANDOM = "H-neuron detector", "H-neurons, refitted", "random neurons"


@dataclass(frozen=True, slots=True)
class Score(Row):
    """One method on one dataset: accuracy at its own threshold and AUROC, intervals bootstrapped by question."""

    method: str
    accuracy: Estimate
    auroc: Estimate


@dataclass(frozen=True, slots=True)
class RandomNeurons(Row):
    """Classifiers on as many random neurons as the detector's H-neurons: mean, lowest and highest of the draws."""

    draws: int
    size: int
    accuracy: tuple[float, float, float]
    auroc: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Difference(Row):
    """AUROC of `method` minus that of `against` on the same rows, its interval from resamples both share.

    Against "random neurons" the mean of the draws counts.
    """

    method: str
    against: str
    auroc: Estimate


@dataclass(frozen=True)
class DatasetResult(Row):
    """All methods on the answer rows of one dataset.

    `roc`: false and true positive rates of the detector; empty, and every AUROC NaN, where there is one class only.
    `differences`: the detector against every other method, and the refitted H-neurons against random neurons fitted in
    the same way; empty in an evaluation made before they were measured.
    """

    name: str
    right: int
    wrong: int
    not_located: int
    scores: tuple[Score, ...]
    random: RandomNeurons
    roc: tuple[tuple[float, ...], tuple[float, ...]]
    items: tuple[tuple[str, bool, float], ...]  # example id, hallucinated, detector's log odds
    differences: tuple[Difference, ...] = ()

    @property
    def detector(self) -> Score:
        return self.scores[0]

    def difference(self, method: str, against: str) -> Estimate | None:
        """AUROC of one method minus another's; None where it was not measured."""
        found = (d.auroc for d in self.differences if (d.method, d.against) == (method, against))
        return next(found, None)


def evaluate_detector(
    detector: Detector,
    train: Dataset,
    tests: Mapping[str, Dataset],
    *,
    scores: Mapping[str, Scores] | None = None,
    draws: int = 20,
    seed: int = 0,
    out: Path | None = None,
) -> dict[str, DatasetResult]:
    """Accuracy and AUROC on the answer rows of each dataset, as in arXiv 2512.01797, Table 1.

    Beside the detector stand:

    - a classifier refitted on the H-neurons alone;
    - `draws` classifiers on as many random neurons, never H-neurons;
    - the rival scores. `scores` is what `score_answers` gave for a test set; sets without are scored here.

    The classifiers are logistic, with the same L2 penalty on standardised columns. All are fitted on `train`'s answer
    rows, with thresholds chosen there. Intervals are 95% bootstrap by question. The resamples are the same for all
    methods, so that differences between them are paired. A test set of one class has an accuracy, which is the share
    flagged or passed, and an AUROC of NaN.

    Raises `NotEnoughDataError` for a training set without both classes, and for a test set without located answers.
    Raises `InputError` when a test question was trained on, or contributions are of another model or other examples.
    """
    known = answer_rows(train, "train", detector=detector)
    check_both_classes(known, "train")
    settings = {"draws": draws, "seed": seed, "detector": detector.data, "detector_settings": detector.settings}
    inputs = {name: data.contributions.content for name, data in {"train": train, **tests}.items()}
    inputs |= {f"scores of {name}": found.content for name, found in (scores or {}).items()}
    stage = FileStage(out, stage=STAGE, settings=settings, inputs=inputs)
    if stage.complete and out is not None:
        return load_evaluation(out)
    columns = detector.neuron_set().columns
    results: dict[str, DatasetResult] = {}
    with progress("evaluate", len(tests), unit="datasets") as advance:
        for name, data in tests.items():
            rows = answer_rows(data, name, detector=detector)
            check_unseen(known, rows, name)
            rivals = _rivals(known, rows, name, (scores or {}).get(name))
            results[name] = _evaluate(detector, columns, known, rows, rivals, name, len(data.examples), draws, seed)
            advance()
    stage.finish({RESULT: dump_json(results) + b"\n"})
    return results


def load_evaluation(folder: Path) -> dict[str, DatasetResult]:
    """Read a finished `evaluate` folder. Raises `InputError` or `ArtifactError`."""
    return read_result(
        folder, RESULT, lambda data: from_row(dict[str, DatasetResult], load_json(data)), stage=STAGE, verb="evaluate"
    )


def _evaluate(
    detector: Detector,
    columns: Indices,
    train: AnswerRows,
    test: AnswerRows,
    rivals: Sequence[Scored],
    name: str,
    total: int,
    draws: int,
    seed: int,
) -> DatasetResult:
    from sklearn.metrics import roc_curve

    decided = detector.decide(test.matrix)
    methods = {DETECTOR: Decided(decided, detector.threshold)}
    if len(columns):
        methods[REFITTED] = refit(train, test, columns)
    methods |= {rival.method: rival.decided for rival in rivals}
    shape = (detector.identity.layers, detector.identity.neurons)
    sets = draw_sets(RANDOM, columns, shape, without=columns, draws=draws, seed=seed)
    drawn = [refit(train, test, np.sort(chosen)) for chosen in sets if len(chosen)]
    areas = _resampled_areas([*methods.values(), *drawn], test, seed)
    one_class = test.labels.all() or not test.labels.any()
    false_rate, true_rate, _ = (np.zeros(0),) * 3 if one_class else roc_curve(test.labels, decided)
    items = zip((e.id for e in test.examples), test.labels.tolist(), np.round(decided, 6).tolist(), strict=True)
    return DatasetResult(
        name=name,
        right=int((~test.labels).sum()),
        wrong=int(test.labels.sum()),
        not_located=total - len(test.labels),
        scores=_scores(methods, areas, test, seed),
        random=RandomNeurons(
            len(drawn),
            min(len(columns), train.matrix.shape[1] - len(columns)),
            _spread([float(((values > threshold) == test.labels).mean()) for values, threshold in drawn]),
            _spread(areas[0, len(methods) :].tolist()),
        ),
        roc=(tuple(np.round(false_rate, 5).tolist()), tuple(np.round(true_rate, 5).tolist())),
        items=tuple(items),
        differences=_differences(list(methods), areas, test),
    )


def _rivals(train: AnswerRows, test: AnswerRows, name: str, stored: Scores | None) -> Sequence[Scored]:
    if stored is None:
        return score_rows(train, test)[0]
    check_scores(stored, test, name)
    return stored.methods


def _resampled_areas(methods: Sequence[Decided], rows: AnswerRows, seed: int) -> Floats:
    """AUROC of each method on all rows, and below it on resamples that all share: [1 + draws, methods]."""
    values = np.stack([values for values, _ in methods], axis=1)
    found = [auroc(rows.labels, column) for column in values.T]
    return np.vstack([found, bootstrap_aurocs(rows.labels, values, groups=rows.groups, seed=seed)])


def _scores(methods: Mapping[str, Decided], areas: Floats, rows: AnswerRows, seed: int) -> tuple[Score, ...]:
    right = np.stack([(values > threshold) == rows.labels for values, threshold in methods.values()], axis=1)
    means = bootstrap_means(right, groups=rows.groups, seed=seed, draws=BOOTSTRAPS)
    n = len(set(rows.groups))
    return tuple(
        Score(
            method,
            bounded_interval(float(right[:, k].mean()), means[:, k], n, units=n, lowest=0, highest=1),
            bounded_interval(areas[0, k], areas[1:, k], n, units=rows.fewest_groups, lowest=0, highest=1),
        )
        for k, method in enumerate(methods)
    )


def _differences(methods: list[str], areas: Floats, rows: AnswerRows) -> tuple[Difference, ...]:
    """The detector less every other method, the refitted H-neurons less the mean of the random ones."""
    columns = {method: areas[:, k] for k, method in enumerate(methods)}
    pairs = [(DETECTOR, method) for method in methods[1:]]
    if areas.shape[1] > len(methods):
        columns[RANDOM] = areas[:, len(methods) :].mean(axis=1)
        pairs += [(DETECTOR, RANDOM), (REFITTED, RANDOM)]
    gaps = [(method, other, columns[method] - columns[other]) for method, other in pairs]
    n, units = len(set(rows.groups)), rows.fewest_groups
    return tuple(
        Difference(method, other, bounded_interval(gap[0], gap[1:], n, units=units, lowest=-1, highest=1))
        for method, other, gap in gaps
    )


def _spread(values: list[float]) -> tuple[float, float, float]:
    if not values:
        return float("nan"), float("nan"), float("nan")
    return float(np.mean(values)), float(np.min(values)), float(np.max(values))
