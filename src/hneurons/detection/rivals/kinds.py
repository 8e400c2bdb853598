"""Kinds of wrong answers: a score that finds one kind may miss another."""

import numpy as np

from hneurons.core.stats import Estimate, auroc, bootstrap_aurocs, percentile_interval
from hneurons.detection.answer_rows import AnswerRows, Bools, Floats
from hneurons.detection.scores.meanings import lacks_meanings
from hneurons.detection.scores.score import answer_log_probabilities

FLOOR = 10
DRAWS = 500


def wrong_kinds(rows: AnswerRows) -> dict[str, Bools]:
    """Wrong answers by kind, bool [rows]; a kind that cannot be told, or that no answer is of, is left out.

    - consistent: at least half of the other samples mean the same; else varied.
    - confident: as sure of its tokens on average as half of the right answers; else unsure.
    - invented: the question is about something that does not exist.
    """
    wrong = rows.labels
    found = {"invented": np.array([not e.question.answerable for e in rows.examples]) & wrong}
    if not lacks_meanings(rows):
        shares = [
            np.mean([same(example.response.text, sample.text) for sample in samples])
            for example, samples in zip(rows.examples, rows.samples, strict=True)
            for same in [rows.meanings.of(example.question.id)]
        ]
        consistent = np.array(shares) >= 0.5
        found |= {"consistent": consistent & wrong, "varied": ~consistent & wrong}
    if all(e.response.logprobs for e in rows.examples) and not wrong.all():
        means = np.array([values.mean() for values in answer_log_probabilities(rows)])
        sure = means >= np.median(means[~wrong])
        found |= {"confident": sure & wrong, "unsure": ~sure & wrong}
    return {name: chosen for name, chosen in found.items() if chosen.any()}


def areas_by_kind(values: Floats, rows: AnswerRows, kinds: dict[str, Bools]) -> dict[str, Estimate]:
    """AUROC of right answers against the wrong ones of each kind that has at least ten."""
    found = {}
    for name, chosen in kinds.items():
        if chosen.sum() < FLOOR or chosen.sum() == len(values):
            continue
        kept = np.flatnonzero(chosen | ~rows.labels)
        labels, scores, groups = rows.labels[kept], values[kept], [rows.groups[i] for i in kept]
        draws = bootstrap_aurocs(labels, scores[:, None], groups=groups, draws=DRAWS)[:, 0]
        found[name] = percentile_interval(auroc(labels, scores), draws, len(set(groups)))
    return found
