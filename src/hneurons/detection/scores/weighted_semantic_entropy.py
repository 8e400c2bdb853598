"""How evenly is the probability of the samples spread over different meanings?"""

from collections.abc import Sequence

import numpy as np

from hneurons.core.types import Response
from hneurons.detection.answer_rows import AnswerRows, Floats
from hneurons.detection.scores.meanings import SampleScore, entropy, lacks_meanings, sample_meanings
from hneurons.detection.scores.score import SCORES


@SCORES.register("semantic entropy, weighted")
class WeightedSemanticEntropy(SampleScore):
    """How evenly the probability of the other samples is spread over what they mean."""

    version = 2

    def lacks(self, rows: AnswerRows) -> str:
        if lacking := lacks_meanings(rows):
            return lacking
        bare = sum(any(not sample.logprobs for sample in samples) for samples in rows.samples)
        return f"{bare} of {len(rows.examples)} answers have samples without log-probabilities" if bare else ""

    def values(self, rows: AnswerRows) -> Floats:
        """Semantic entropy in nats, a sample weighing exp(its mean log-probability) (arXiv 2302.09664, section 4)."""
        return np.array([_entropy(*pair) for pair in zip(sample_meanings(rows), rows.samples, strict=True)])


def _entropy(meanings: Sequence[int], samples: Sequence[Response]) -> float:
    weights = np.exp([np.mean(sample.logprobs) for sample in samples])
    return entropy(np.bincount(meanings, weights=weights).astype(np.float64))
