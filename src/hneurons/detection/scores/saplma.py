"""Does a small network on the residual stream tell more than a linear probe?"""

import warnings

import numpy as np

from hneurons.detection.answer_rows import AnswerRows, Bools, Decided, Floats
from hneurons.detection.scores.residual import choose_state, lacks_states, read_states
from hneurons.detection.scores.score import SCORES, Cost, Refit, Score

LAYERS = (256, 128, 64)


@SCORES.register("SAPLMA")
class Saplma(Score):
    """A network of three hidden layers on the residual stream at the answer's last token."""

    version, needs, fitted, cost = 1, "internals", True, Cost(passes=1)
    work = ("states",)
    slow = True

    def lacks(self, rows: AnswerRows) -> str:
        return lacks_states(rows)

    def decide(self, train: AnswerRows, test: AnswerRows) -> Decided:
        """As in arXiv 2304.13734, section 4, with early stopping; the layer is where a linear probe does best."""
        place, layer, _ = choose_state(train, ("answer end",))
        return Decided(_fit(read_states(train, place, layer), train.labels, read_states(test, place, layer)), 0.0)

    def refitter(self, train: AnswerRows, test: AnswerRows) -> Refit:
        place, layer, _ = choose_state(train, ("answer end",))
        states, new = read_states(train, place, layer), read_states(test, place, layer)
        return lambda rows: _fit(states[rows], train.labels[rows], new)


def _fit(known: Floats, labels: Bools, new: Floats) -> Floats:
    from scipy.special import logit
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Early stopping holds out a tenth of the training answers of each class, which a handful cannot spare.
    spare = min(labels.sum(), (~labels).sum()) >= 20 and len(labels) >= 100
    network = MLPClassifier(LAYERS, early_stopping=bool(spare), max_iter=200, random_state=0)
    model = make_pipeline(StandardScaler(), network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(known, labels)
    probability = model.predict_proba(new)[:, 1]
    return np.asarray(logit(probability.clip(1e-9, 1 - 1e-9)))
