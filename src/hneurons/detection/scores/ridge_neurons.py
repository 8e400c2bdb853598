"""Does what all neurons contribute tell, with no choice among them?"""

from hneurons.detection.answer_rows import AnswerRows, Decided
from hneurons.detection.ridge import decide_ridge, fit_ridge, products_of, ridge_refitter
from hneurons.detection.scores.score import SCORES, Cost, Refit, Score


@SCORES.register("all neurons, ridge")
class RidgeNeurons(Score):
    """A dense linear classifier on what every neuron contributes over the answer's tokens."""

    version, needs, fitted, cost = 1, "internals", True, Cost(passes=1)
    work = ("contributions",)

    def decide(self, train: AnswerRows, test: AnswerRows) -> Decided:
        """Ridge on all standardised columns, its penalty chosen on training folds."""
        return decide_ridge(products_of(train.matrix, [test.matrix]), train.labels, train.groups)

    def refitter(self, train: AnswerRows, test: AnswerRows) -> Refit:
        products = products_of(train.matrix, [test.matrix])
        return ridge_refitter(products, train.labels, fit_ridge(products.train, train.labels, train.groups))
