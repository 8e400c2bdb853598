"""Rival scores: what predicts a made-up answer without H-neurons, one file each.

A detector that does not beat these may only have read the answer's length, the topic of the question, or the model's
own uncertainty. A file here that registers a class of `Score` in `SCORES` is enough. Other packages add theirs through
the entry points `hneurons.scores`.
"""

from hneurons.core.registry import import_modules
from hneurons.detection.scores.answer_length import AnswerLength
from hneurons.detection.scores.mean_log_probability import MeanLogProbability
from hneurons.detection.scores.minimum_log_probability import MinimumLogProbability
from hneurons.detection.scores.perplexity import Perplexity
from hneurons.detection.scores.question_only import QuestionOnly
from hneurons.detection.scores.score import SCORES, Cost, FittedScore, PlainScore, Score
from hneurons.detection.scores.scored import Scored, Scores, check_scores, load_scores, score_answers, score_rows
from hneurons.detection.scores.sum_log_probability import SumLogProbability

__all__ = [
    "SCORES",
    "AnswerLength",
    "Cost",
    "FittedScore",
    "MeanLogProbability",
    "MinimumLogProbability",
    "Perplexity",
    "PlainScore",
    "QuestionOnly",
    "Score",
    "Scored",
    "Scores",
    "SumLogProbability",
    "check_scores",
    "load_scores",
    "score_answers",
    "score_rows",
]

import_modules(__name__, __path__)
