"""Do the neurons tell before the answer is begun?"""

from hneurons.detection.answer_rows import AnswerRows, Decided
from hneurons.detection.ridge import decide_ridge, products_of
from hneurons.detection.scores.residual import lacks_states
from hneurons.detection.scores.score import SCORES, Cost, Score


@SCORES.register("all neurons, before the answer")
class NeuronsBefore(Score):
    """A dense linear classifier on what every neuron contributes at the prompt's last token."""

    version, needs, fitted, cost = 1, "internals", True, Cost(passes=1)
    work = ("states",)

    def lacks(self, rows: AnswerRows) -> str:
        return lacks_states(rows)

    def decide(self, train: AnswerRows, test: AnswerRows) -> Decided:
        """Ridge on all standardised columns, its penalty chosen on training folds."""
        assert train.states is not None and test.states is not None
        before = [rows.states.before(rows.state_rows) for rows in (train, test) if rows.states is not None]
        return decide_ridge(products_of(before[0], before[1:]), train.labels, train.groups)
