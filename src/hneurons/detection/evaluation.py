"""Stage `evaluate`: the detector on natural samples of unseen questions, beside random neurons and rival scores."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hneurons.core.artifacts import FileStage, Manifest, read_result
from hneurons.core.errors import ArtifactError, NotEnoughDataError
from hneurons.core.progress import progress
from hneurons.core.rows import Row, dump_json, from_row, load_json, to_row
from hneurons.core.seeds import fingerprint
from hneurons.core.showing import data_frame, html_table, one_line
from hneurons.core.stats import BOOTSTRAPS, Estimate, auroc, bootstrap_aurocs, bootstrap_means, bounded_interval
from hneurons.core.wording import count, interval, percent, spread
from hneurons.detection.answer_rows import (
    AnswerRows,
    Dataset,
    Decided,
    Floats,
    answer_rows,
    check_both_classes,
    check_unseen,
)
from hneurons.detection.detector import Detector
from hneurons.detection.like_for_like import ALL_REFITTED, LIKE_FOR_LIKE, NONE, REFITTED, RandomNeurons, compare_alike
from hneurons.detection.scores import Scored, Scores, check_scores, score_rows

if TYPE_CHECKING:
    from pandas import DataFrame

STAGE = "evaluation"
RESULT = "evaluation.json"
DETECTOR = "H-neuron detector"
FLOOR = 5
"""Located answers below which nothing is evaluated."""
FEW = 10
"""Located answers of a class below which a bootstrap interval is too narrow to be believed."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Score(Row):
    """One method on one dataset: accuracy at its own threshold and AUROC, intervals bootstrapped by question."""

    method: str
    accuracy: Estimate
    auroc: Estimate


@dataclass(frozen=True, slots=True)
class Difference(Row):
    """AUROC of `method` minus that of `against` on the same rows, its interval from resamples both share.

    Against random neurons the mean of the draws counts.
    """

    method: str
    against: str
    auroc: Estimate


@dataclass(frozen=True)
class DatasetResult(Row):
    """All methods on the answer rows of one dataset.

    - `roc`: false and true positive rates of the detector. It is empty, and every AUROC NaN, for a single class.
    - `random`: random neurons, as many as the H-neurons.
    - `random_all`: as many as all neurons of the detector; None where these are the same.
    - `differences`: the detector against every other method, and its neurons against random ones like for like. Empty
      in an evaluation made before they were measured.
    - `detector_content`: which detector was evaluated; empty in an evaluation by an earlier version.
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
    random_all: RandomNeurons | None = None
    detector_content: str = ""

    def __repr__(self) -> str:
        reached = f"AUROC {interval(self.detector.auroc)}" if self.scores else ""
        return one_line(self, self.name, f"{self.right} right + {self.wrong} wrong answers", reached)

    def _repr_html_(self) -> str:
        caption = f"{self.name}: {self.right} right + {self.wrong} wrong answers"
        return html_table(caption, ("method", "accuracy, %", "AUROC"), self.table())

    def table(self) -> list[tuple[str, str, str]]:
        """Method, accuracy in percent and AUROC with intervals, in words: the scores, then the random neurons."""
        rows = [(score.method, percent(score.accuracy), interval(score.auroc)) for score in self.scores]
        for random in (self.random_all, self.random):
            if random is not None and random.size:
                mean, low, high = (100 * value for value in random.accuracy)
                area = spread(*random.auroc) if math.isfinite(random.auroc[0]) else "not testable"
                method = f"{count(random.size, 'random neuron')}, {random.draws} draws, fitted as '{random.like}'"
                rows.append((method, spread(mean, low, high, 1), area))
        for random, difference in self.like_for_like:
            method = f"'{difference.method}' less {count(random.size, 'random neuron')}"
            rows.append((method, "", interval(difference.auroc)))
        return rows

    def to_pandas(self) -> "DataFrame":
        """The answers evaluated: id (the index), hallucinated, log_odds of the detector. Needs the extra `pandas`."""
        ids, wrong, odds = zip(*self.items, strict=True) if self.items else ((), (), ())
        return data_frame({"id": ids, "hallucinated": wrong, "log_odds": odds}, index="id")

    @property
    def like_for_like(self) -> tuple[tuple[RandomNeurons, Difference], ...]:
        """Random neurons and how much better than they as many of the detector's are, fitted alike on the same rows.

        All neurons of the detector come first where some have negative weight, then the H-neurons alone. Empty where
        there are no random neurons, and in an evaluation by an earlier version.
        """
        drawn = {one.like: one for one in (self.random_all, self.random) if one is not None and one.like}
        pairs = {(d.method, d.against): d for d in self.differences}
        return tuple((drawn[p[0]], pairs[p]) for p in LIKE_FOR_LIKE.items() if p[0] in drawn and p in pairs)

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

    - a classifier refitted on all neurons of the detector, and one on the H-neurons alone;
    - for each of these, `draws` classifiers on as many random neurons, none of them the detector's;
    - the rival scores. `scores` is what `score_answers` gave for a test set; sets without are scored here.

    The classifiers are logistic, with the same L2 penalty on standardised columns. All are fitted on `train`'s answer
    rows, with thresholds chosen there. Intervals are 95% bootstrap by question. The resamples are the same for all
    methods, so that differences between them are paired. A test set of one class has an accuracy, which is the share
    flagged or passed, and an AUROC of NaN.

    Answers to questions that the detector says it was fitted on are left out, and a warning counts them. The rival
    scores of such a set are computed here, on the answers that remain.

    Raises `NotEnoughDataError` for a training set without both classes, and for a test set without located answers.
    Raises `InputError` when a test question was trained on, or contributions are of another model or other examples.
    """
    known = answer_rows(train, "train", detector=detector)
    check_both_classes(known, "train")
    settings = {"draws": draws, "seed": seed, "detector": detector.data, "detector_settings": detector.settings}
    settings["random"] = "none of the detector's, as many as all its neurons and as its H-neurons"
    inputs = {"detector": detector.content}
    inputs |= {name: data.contributions.content for name, data in {"train": train, **tests}.items()}
    inputs |= {f"scores of {name}": found.content for name, found in (scores or {}).items()}
    seen = {name: {e.id for e in data.examples if detector.has_seen(e.question)} for name, data in tests.items()}
    for name, left_out in seen.items():
        if left_out:
            number = count(len(left_out), "answer")
            logger.warning("'%s': %s to questions that the detector was fitted on: left out", name, number)
    inputs |= {f"left out of {name}": fingerprint(sorted(left_out)) for name, left_out in seen.items() if left_out}
    stage = FileStage(out, stage=STAGE, settings=settings, inputs=inputs)
    if stage.complete and out is not None:
        return load_evaluation(out)
    results: dict[str, DatasetResult] = {}
    with progress("evaluate", len(tests)) as advance:
        for name, data in tests.items():
            rows = answer_rows(data, name, detector=detector, leave_out=seen[name])
            check_unseen(known, rows, name)
            _check_size(rows, name)
            rivals = _rivals(known, rows, name, None if seen[name] else (scores or {}).get(name))
            total = len(data.examples) - len(seen[name])
            results[name] = _evaluate(detector, known, rows, rivals, name, total, draws, seed)
            advance()
    stage.finish({RESULT: dump_json(results) + b"\n"})
    return results


def load_evaluation(folder: Path, *, detector: Detector | None = None) -> dict[str, DatasetResult]:
    """Read a finished `evaluate` folder.

    Raises `InputError` for another folder, and `ArtifactError` for a damaged one or, with `detector`, for an evaluation
    of another detector.
    """
    results = read_result(
        folder, RESULT, lambda data: from_row(dict[str, DatasetResult], load_json(data)), stage=STAGE, verb="evaluate"
    )
    if detector is not None:
        stored = Manifest.load(folder).settings
        settings = [stored.get("detector"), stored.get("detector_settings")]
        if fingerprint(settings) != fingerprint(to_row([detector.data, detector.settings])):
            raise other_detector(str(folder))
        check_evaluated(detector, results, str(folder))
    return results


def check_evaluated(detector: Detector, results: Mapping[str, DatasetResult], where: str) -> None:
    """Raise `ArtifactError` where results are of another detector; those of earlier versions do not say."""
    if any(result.detector_content not in ("", detector.content) for result in results.values()):
        raise other_detector(where)


def other_detector(where: str) -> ArtifactError:
    """The error of an evaluation that lies beside a detector which it does not belong to."""
    return ArtifactError(
        f"the evaluation in {where} is of another detector than this one: delete it and run 'evaluate' again"
    )


def _evaluate(
    detector: Detector,
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
    compared = compare_alike(detector, train, test, draws=draws, seed=seed)
    methods |= {like: both.own for like, both in compared.items()}
    methods |= {rival.method: rival.decided for rival in rivals}
    drawn = [one for both in compared.values() for one in both.drawn]
    areas, sets = np.split(_resampled_areas([*methods.values(), *drawn], test, seed), [len(methods)], axis=1)
    random, means = dict[str, RandomNeurons](), dict[str, Floats]()
    for like, both in compared.items():
        own, sets = np.split(sets, [len(both.drawn)], axis=1)
        random[like] = both.summarize(like, own[0], test)
        means |= {like: own.mean(axis=1)} if both.drawn else {}
    one_class = test.labels.all() or not test.labels.any()
    false_rate, true_rate, _ = (np.zeros(0),) * 3 if one_class else roc_curve(test.labels, decided)
    items = zip((e.id for e in test.examples), test.labels.tolist(), np.round(decided, 6).tolist(), strict=True)
    return DatasetResult(
        name=name,
        right=int((~test.labels).sum()),
        wrong=int(test.labels.sum()),
        not_located=total - len(test.labels),
        scores=_scores(methods, areas, test, seed),
        random=random.get(REFITTED, NONE),
        roc=(tuple(np.round(false_rate, 5).tolist()), tuple(np.round(true_rate, 5).tolist())),
        items=tuple(items),
        differences=_differences(list(methods), areas, means, test),
        random_all=random.get(ALL_REFITTED),
        detector_content=detector.content,
    )


def _check_size(rows: AnswerRows, name: str) -> None:
    """Refuse a set below `FLOOR`, warn of one with `FEW` answers of a class."""
    wrong, total = int(rows.labels.sum()), len(rows.labels)
    if total < FLOOR:
        raise NotEnoughDataError(
            f"'{name}' has {total} located answers, and nothing can be said from fewer than {FLOOR}: ask more "
            "questions, or leave it out"
        )
    if warning := few_answers(total - wrong, wrong):
        logger.warning("'%s': %s", name, warning)


def few_answers(right: int, wrong: int) -> str:
    """What to say of a test set with few answers of a class that it has; empty where there are enough."""
    if min(n for n in (right, wrong) if n) >= FEW:
        return ""
    return (
        f"{right} right and {wrong} wrong answers are too few: intervals from fewer than {FEW} of a class are too "
        "narrow to be believed"
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


def _differences(
    methods: list[str], areas: Floats, random: Mapping[str, Floats], rows: AnswerRows
) -> tuple[Difference, ...]:
    """The detector less every other method, and its refitted neurons less the mean of as many random ones."""
    columns = {method: areas[:, k] for k, method in enumerate(methods)}
    columns |= {LIKE_FOR_LIKE[method]: mean for method, mean in random.items()}
    pairs = [(DETECTOR, method) for method in methods[1:]]
    pairs += [(method, LIKE_FOR_LIKE[method]) for method in random]
    gaps = [(method, other, columns[method] - columns[other]) for method, other in pairs]
    n, units = len(set(rows.groups)), rows.fewest_groups
    return tuple(
        Difference(method, other, bounded_interval(gap[0], gap[1:], n, units=units, lowest=-1, highest=1))
        for method, other, gap in gaps
    )
