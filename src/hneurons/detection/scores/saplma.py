"""Does a small network on the residual stream tell more than a linear probe?"""

import warnings

from hneurons.detection.answer_rows import AnswerRows, Decided
from hneurons.detection.scores.residual import choose_state, lacks_states, read_states
from hneurons.detection.scores.score import SCORES, Cost, Score

LAYERS = (256, 128, 64)


@SCORES.register("SAPLMA")
class Saplma(Score):
    """A network of three hidden layers on the residual stream at the answer's last token."""

    version, needs, fitted, cost = 1, "internals", True, Cost(passes=1)
    work = ("states",)

    def lacks(self, rows: AnswerRows) -> str:
        return lacks_states(rows)

    def decide(self, train: AnswerRows, test: AnswerRows) -> Decided:
        """As in arXiv 2304.13734, section 4, with early stopping; the layer is where a linear probe does best."""
        from scipy.special import logit
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        place, layer, _ = choose_state(train, ("answer end",))
        # Early stopping holds out a tenth of the training answers of each class, which a handful cannot spare.
        spare = min(train.labels.sum(), (~train.labels).sum()) >= 20 and len(train.labels) >= 100
        network = MLPClassifier(LAYERS, early_stopping=bool(spare), max_iter=200, random_state=0)
        model = make_pipeline(StandardScaler(), network)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(read_states(train, place, layer), train.labels)
        probability = model.predict_proba(read_states(test, place, layer))[:, 1]
        return Decided(logit(probability.clip(1e-9, 1 - 1e-9)), 0.0)
