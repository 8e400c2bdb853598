"""What the scores that read samples share: the meanings of an answer's samples, and how they are spread."""

from collections import Counter

import numpy as np

from hneurons.answers.entailment import STAGE as ENTAILMENTS
from hneurons.answers.meanings import STRINGS, cluster_meanings
from hneurons.answers.responses import STAGE as SAMPLING
from hneurons.detection.answer_rows import AnswerRows, Decided, Floats
from hneurons.detection.scores.score import Need, PlainScore

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


def keep_sampled(rows: AnswerRows) -> AnswerRows:
    """The answers with samples enough, for scores that read nothing but answers and samples."""
    kept = [place for place, samples in enumerate(rows.samples) if len(samples) >= FEWEST]
    return rows._replace(
        examples=[rows.examples[place] for place in kept],
        labels=rows.labels[kept],
        groups=[rows.groups[place] for place in kept],
        samples=[rows.samples[place] for place in kept],
    )


class SampleScore(PlainScore):
    """A number of the other samples of an answer.

    Its threshold is learned from the training answers with samples enough: sampling may have ended before for some.
    """

    needs: Need = "samples"

    def lacks(self, rows: AnswerRows) -> str:
        return lacks_meanings(rows)

    def lacks_to_learn(self, train: AnswerRows) -> str:
        kept = keep_sampled(train)
        one_class = kept.labels.all() or not kept.labels.any()
        return lacks_samples(train) if one_class else self.lacks(kept)

    def work_on(self, rows: AnswerRows) -> tuple[str, ...]:
        return meaning_work(rows)

    def decide(self, train: AnswerRows, test: AnswerRows) -> Decided:
        return super().decide(keep_sampled(train), test)
