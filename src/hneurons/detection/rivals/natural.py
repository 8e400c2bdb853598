"""Scores on answers as they were drawn: a balanced test set, each row counting for the answers that it stands for."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from hneurons.answers.responses import Classes
from hneurons.core.stats import bootstrap_aurocs, bounded_interval
from hneurons.core.types import Judgement, Question, Response
from hneurons.detection.answer_rows import AnswerRows, Bools, Floats
from hneurons.detection.rivals.results import Natural

BINS = 10
DRAWS = 500


class Drawn(NamedTuple):
    """The first answer to every question of a test set: counts by (relation, wrong), and how many abstained."""

    counts: Counter[tuple[str, bool]]
    abstained: int

    @property
    def prevalence(self) -> float:
        """Share of wrong answers among those that are right or wrong."""
        wrong = sum(count for (_, is_wrong), count in self.counts.items() if is_wrong)
        return wrong / self.counts.total() if self.counts.total() else float("nan")


def count_drawn(questions: Sequence[Question], responses: Iterable[Response], verdicts: Iterable[Judgement]) -> Drawn:
    """What the first draw of every question was, before any balancing; answers that were cut off are left out."""
    said = {verdict.id: verdict.verdict for verdict in verdicts}
    classes, by_id = Classes(questions), {question.id: question for question in questions}
    counts, abstained = Counter[tuple[str, bool]](), 0
    for response in responses:
        if response.sample or response.finish_reason != "stop" or response.question_id not in by_id:
            continue
        question = by_id[response.question_id]
        wrong = classes.of(question, said[response.id], response.text)
        abstained += said[response.id] == "abstained" and wrong is None
        if wrong is not None:
            counts[question.relation, wrong] += 1
    return Drawn(counts, abstained)


def natural_weights(rows: AnswerRows, drawn: Drawn) -> tuple[Floats, float]:
    """How many drawn answers each row stands for, and the share of the drawn answers for which none stands."""
    kinds = [(e.question.relation, bool(wrong)) for e, wrong in zip(rows.examples, rows.labels, strict=True)]
    own = Counter(kinds)
    weights = np.array([drawn.counts[kind] / own[kind] for kind in kinds])
    missing = sum(count for kind, count in drawn.counts.items() if not own[kind])
    return weights, missing / drawn.counts.total() if drawn.counts.total() else float("nan")


def score_natural(values: Floats, rows: AnswerRows, weights: Floats) -> Natural:
    """AUROC, average precision, Brier score and calibration error with each row counted as often as it stands for."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    both = rows.labels.any() and not rows.labels.all() and weights.sum() > 0
    point = float(roc_auc_score(rows.labels, values, sample_weight=weights)) if both else float("nan")
    drawn = bootstrap_aurocs(rows.labels, values[:, None], groups=rows.groups, draws=DRAWS, weights=weights)[:, 0]
    units = len(set(rows.groups))
    probability = _calibrated(values, rows.labels, weights, rows.groups)
    off = (probability - rows.labels) ** 2
    return Natural(
        auroc=bounded_interval(point, drawn[np.isfinite(drawn)], units, units=units, lowest=0, highest=1),
        average_precision=float(average_precision_score(rows.labels, values, sample_weight=weights)),
        brier=float(np.average(off, weights=weights)),
        calibration_error=_calibration_error(probability, rows.labels, weights),
    )


def _calibrated(values: Floats, labels: Bools, weights: Floats, groups: Sequence[str]) -> Floats:
    """Probability of a wrong answer, calibrated (Platt 1999) on the half of the questions that the row is not in."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold

    scaled = ((values - values.mean()) / (values.std() or 1.0))[:, None]
    found = np.full(len(values), np.nan)
    try:
        halves = list(StratifiedGroupKFold(2, shuffle=True, random_state=0).split(scaled, labels, groups))
    except ValueError:  # a class with one answer
        return found
    for fitted, other in halves:
        if len(np.unique(labels[fitted])) < 2:
            return np.full(len(values), np.nan)
        model = LogisticRegression().fit(scaled[fitted], labels[fitted], sample_weight=weights[fitted])
        found[other] = model.predict_proba(scaled[other])[:, 1]
    return found


def _calibration_error(probability: Floats, labels: Bools, weights: Floats) -> float:
    """Mean gap between probability and share of wrong answers over ten bins of equal width."""
    if not np.isfinite(probability).all():
        return float("nan")
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    gaps = [abs(float((weights * (probability - labels))[bins == b].sum())) for b in np.unique(bins)]
    return sum(gaps) / float(weights.sum())
