"""Does the residual stream over the answer tell?"""

from hneurons.detection.answer_rows import AnswerRows, Decided
from hneurons.detection.ridge import ridge_refitter
from hneurons.detection.scores.residual import decide_probe, lacks_states, probe_products
from hneurons.detection.scores.score import SCORES, Cost, Refit, Score
from hneurons.neurons.states import Place

PLACES: tuple[Place, ...] = ("answer mean", "answer end")


@SCORES.register("residual probe")
class ResidualProbe(Score):
    """A linear probe on the residual stream over the answer's tokens."""

    version, needs, fitted, cost = 1, "internals", True, Cost(passes=1)
    work = ("states",)

    def lacks(self, rows: AnswerRows) -> str:
        return lacks_states(rows)

    def decide(self, train: AnswerRows, test: AnswerRows) -> Decided:
        """Ridge on the residual stream, its place and layer chosen on training folds."""
        return decide_probe(train, test, PLACES)

    def refitter(self, train: AnswerRows, test: AnswerRows) -> Refit:
        products, ridge = probe_products(train, test, PLACES)
        return ridge_refitter(products, train.labels, ridge)
