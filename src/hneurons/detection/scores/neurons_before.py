"""Do the neurons tell before the answer is begun?"""

from hneurons.detection.answer_rows import AnswerRows, Decided
from hneurons.detection.ridge import Products, decide_ridge, fit_ridge, products_of, ridge_refitter
from hneurons.detection.scores.residual import lacks_states
from hneurons.detection.scores.score import SCORES, Cost, Refit, Score


@SCORES.register("all neurons, before the answer")
class NeuronsBefore(Score):
    """A dense linear classifier on what every neuron contributes at the prompt's last token."""

    version, needs, fitted, cost = 1, "internals", True, Cost(passes=1)
    work = ("states",)

    def lacks(self, rows: AnswerRows) -> str:
        return lacks_states(rows)

    def decide(self, train: AnswerRows, test: AnswerRows) -> Decided:
        """Ridge on all standardised columns, its penalty chosen on training folds."""
        return decide_ridge(_products(train, test), train.labels, train.groups)

    def refitter(self, train: AnswerRows, test: AnswerRows) -> Refit:
        products = _products(train, test)
        return ridge_refitter(products, train.labels, fit_ridge(products.train, train.labels, train.groups))


def _products(train: AnswerRows, test: AnswerRows) -> Products:
    assert train.states is not None and test.states is not None
    before = [rows.states.before(rows.state_rows) for rows in (train, test) if rows.states is not None]
    return products_of(before[0], before[1:])
