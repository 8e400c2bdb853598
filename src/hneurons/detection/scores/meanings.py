"""What the scores that read samples share: the meanings of an answer's samples, and how they are spread."""

from collections import Counter

import numpy as np

from hneurons.answers.entailment import STAGE as ENTAILMENTS
from hneurons.answers.meanings import STRINGS, cluster_meanings
from hneurons.answers.responses import STAGE as SAMPLING
from hneurons.detection.answer_rows import AnswerRows, Floats

FEWEST = 2
"""Samples besides the answer below which nothing is said about how they vary."""


def sample_meanings(rows: AnswerRows) -> list[list[int]]:
    """The meaning of every other sample of each answer, numbered by first appearance."""
    return [
        cluster_meanings([sample.text for sample in samples], rows.meanings.of(example.question.id))
        for example, samples in zip(rows.examples, rows.samples, strict=True)
    ]


def meaning_counts(rows: AnswerRows) -> list[Counter[int]]:
    """How many of the other samples of each answer have each meaning."""
    return [Counter(meanings) for meanings in sample_meanings(rows)]


def entropy(weights: Floats) -> float:
    """Entropy in nats of weights that are divided by their sum."""
    shares = weights[weights > 0] / weights.sum()
    return float(-(shares * np.log(shares)).sum() + 0.0)


def meaning_work(rows: AnswerRows) -> tuple[str, ...]:
    """Sampling, and asking who means the same where that is not told from strings."""
    return (SAMPLING,) if rows.meanings.judge == STRINGS else (SAMPLING, ENTAILMENTS)


def lacks_samples(rows: AnswerRows) -> str:
    """In words, how many answers have too few samples beside them; empty where none has."""
    few = sum(len(samples) < FEWEST for samples in rows.samples) if rows.samples else len(rows.examples)
    return f"{few} of {len(rows.examples)} answers have fewer than {FEWEST} other samples" if few else ""


def lacks_meanings(rows: AnswerRows) -> str:
    """In words, what is missing to tell the samples' meanings; empty where nothing is."""
    return lacks_samples(rows) or rows.meanings.lacks
