"""How far is the residual stream from that of right answers?"""

import numpy as np

from hneurons.detection.answer_rows import AnswerRows, Decided, Floats, Indices, even_odds
from hneurons.detection.scores.residual import choose_state, lacks_states, read_states
from hneurons.detection.scores.score import SCORES, Cost, Refit, Score, cross_fit

FEWEST = 4
"""Right training answers below which their spread is not known."""


@SCORES.register("Mahalanobis distance")
class Mahalanobis(Score):
    """How far the residual stream over the answer is from that of right training answers."""

    version, needs, fitted, cost = 2, "internals", True, Cost(passes=1)
    work = ("states",)
    slow = True

    def lacks(self, rows: AnswerRows) -> str:
        return lacks_states(rows)

    def decide(self, train: AnswerRows, test: AnswerRows) -> Decided:
        """Squared distance to right training answers, their covariance shrunk (Ledoit and Wolf 2004).

        The layer is where a linear probe does best on training folds. The threshold is learned from training answers,
        each by its distance to the right ones of other folds. Of fewer than four right answers no covariance is known,
        and every distance is 0.
        """
        if (~train.labels).sum() < FEWEST:
            return Decided(np.zeros(len(test.labels)), 0.0)
        place, layer, _ = choose_state(train, ("answer mean",))
        states = read_states(train, place, layer)
        known = states[~train.labels]

        def measure(kept: Indices, out: Indices) -> Floats:
            right = kept[~train.labels[kept]]
            return _distances(states[right] if len(right) >= 2 else known, states[out])

        threshold = even_odds(cross_fit(train, measure), train.labels.astype(np.int64))
        return Decided(_distances(known, read_states(test, place, layer)), threshold)

    def refitter(self, train: AnswerRows, test: AnswerRows) -> Refit | None:
        place, layer, _ = choose_state(train, ("answer mean",))
        states, new = read_states(train, place, layer), read_states(test, place, layer)
        return lambda rows: _distances(states[rows[~train.labels[rows]]], new)


def _distances(known: Floats, new: Floats) -> Floats:
    from sklearn.covariance import LedoitWolf
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(known)
    model = LedoitWolf().fit(scaler.transform(known))
    return np.asarray(model.mahalanobis(scaler.transform(new)) / known.shape[1])
