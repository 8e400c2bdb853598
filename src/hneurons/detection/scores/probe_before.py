"""Does the residual stream tell before the answer is begun?"""

import numpy as np

from hneurons.detection.answer_rows import AnswerRows, Decided, even_odds
from hneurons.detection.ridge import products_of_arrays
from hneurons.detection.scores.residual import choose_state, lacks_states, read_states
from hneurons.detection.scores.score import SCORES, Cost, Score


@SCORES.register("residual probe, before the answer")
class ProbeBefore(Score):
    """A linear probe on the residual stream at the prompt's last token."""

    version, needs, fitted, cost = 1, "internals", True, Cost(passes=1)
    work = ("states",)

    def lacks(self, rows: AnswerRows) -> str:
        return lacks_states(rows)

    def decide(self, train: AnswerRows, test: AnswerRows) -> Decided:
        """Ridge on the residual stream, its place and layer chosen on training folds."""
        place, layer, ridge = choose_state(train, ("question end",))
        products = products_of_arrays(read_states(train, place, layer), [read_states(test, place, layer)])
        threshold = even_odds(ridge.held_out, train.labels.astype(np.int64))
        return Decided(ridge.decide(products.tests[0]), threshold)
