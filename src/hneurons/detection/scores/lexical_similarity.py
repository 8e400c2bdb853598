"""How alike are the samples word by word?"""

import re
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from hneurons.answers.responses import STAGE as SAMPLING
from hneurons.detection.answer_rows import AnswerRows, Floats
from hneurons.detection.scores.meanings import SampleScore, lacks_samples
from hneurons.detection.scores.score import SCORES


@SCORES.register("lexical similarity")
class LexicalSimilarity(SampleScore):
    """How little the other samples have in common word by word."""

    version = 2

    def lacks(self, rows: AnswerRows) -> str:
        return lacks_samples(rows)

    def work_on(self, rows: AnswerRows) -> tuple[str, ...]:
        return (SAMPLING,)

    def values(self, rows: AnswerRows) -> Floats:
        """Less the mean ROUGE-L F-measure of all pairs of the other samples, float64 [rows]."""
        words = [[re.findall(r"\w+", sample.text.casefold()) for sample in samples] for samples in rows.samples]
        return np.array([-np.mean([rouge_l(a, b) for a, b in combinations(said, 2)]) for said in words])


def rouge_l(one: Sequence[str], other: Sequence[str]) -> float:
    """F-measure of the longest common subsequence of words (Lin 2004); 1 for two texts without words."""
    if not one or not other:
        return float(not one and not other)
    lengths = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for place, also in enumerate(other, 1):
            here = lengths[place]
            lengths[place] = before + 1 if word == also else max(here, lengths[place - 1])
            before = here
    return 2 * lengths[-1] / (len(one) + len(other))
