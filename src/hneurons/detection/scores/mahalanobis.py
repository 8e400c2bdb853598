"""How far is the residual stream from that of right answers?"""

import numpy as np

from hneurons.detection.answer_rows import AnswerRows, Decided, Floats, even_odds
from hneurons.detection.scores.residual import choose_state, lacks_states, read_states
from hneurons.detection.scores.score import SCORES, Cost, Score

FEWEST = 4
"""Right training answers below which their spread is not known."""


@SCORES.register("Mahalanobis distance")
class Mahalanobis(Score):
    """How far the residual stream over the answer is from that of right training answers."""

    version, needs, fitted, cost = 1, "internals", True, Cost(passes=1)
    work = ("states",)

    def lacks(self, rows: AnswerRows) -> str:
        return lacks_states(rows)

    def decide(self, train: AnswerRows, test: AnswerRows) -> Decided:
        """Squared distance to right training answers, their covariance shrunk (Ledoit and Wolf 2004).

        The layer is where a linear probe does best on training folds. The threshold is learned from half of the right
        answers and the wrong ones, by the distance to the other half. Of fewer than four right answers no covariance
        is known, and every distance is 0.
        """
        if (~train.labels).sum() < FEWEST:
            return Decided(np.zeros(len(test.labels)), 0.0)
        place, layer, _ = choose_state(train, ("answer mean",))
        states = read_states(train, place, layer)
        right = np.flatnonzero(~train.labels)
        apart = np.setdiff1d(np.arange(len(states)), right[::2])
        held_out = _distances(states[right[::2]], states[apart])
        threshold = even_odds(held_out, train.labels[apart].astype(np.int64))
        return Decided(_distances(states[right], read_states(test, place, layer)), threshold)


def _distances(known: Floats, new: Floats) -> Floats:
    from sklearn.covariance import LedoitWolf
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(known)
    model = LedoitWolf().fit(scaler.transform(known))
    return np.asarray(model.mahalanobis(scaler.transform(new)) / known.shape[1])
