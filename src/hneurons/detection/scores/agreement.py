"""Is the answer what the model says most often?"""

from collections import Counter

import numpy as np

from hneurons.answers.meanings import cluster_meanings
from hneurons.detection.answer_rows import AnswerRows, Floats
from hneurons.detection.scores.meanings import SampleScore
from hneurons.detection.scores.score import SCORES


@SCORES.register("agreement with the majority")
class Agreement(SampleScore):
    """Whether the answer means what most other samples mean, and how many these are."""

    version = 2

    def values(self, rows: AnswerRows) -> Floats:
        """Share of the commonest meaning among the other samples, negative where the answer has it, float64 [rows]."""
        found = []
        for example, samples in zip(rows.examples, rows.samples, strict=True):
            meanings = cluster_meanings(
                [*(sample.text for sample in samples), example.response.text], rows.meanings.of(example.question.id)
            )
            counts = Counter(meanings[:-1])
            most = max(counts.values())
            has_it = counts[meanings[-1]] == most
            found.append((-1 if has_it else 1) * most / len(samples))
        return np.array(found)
