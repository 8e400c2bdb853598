"""The answer rows of a dataset, and what every comparison of neurons does with them: refit and decide."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hneurons.answers.meanings import Meanings
from hneurons.answers.opinions import Opinion, Opinions
from hneurons.answers.responses import group_by_question
from hneurons.core.errors import InputError, NotEnoughDataError
from hneurons.core.timing import Spent
from hneurons.core.types import Example, ModelIdentity, Response
from hneurons.detection.detector import Detector
from hneurons.neurons.contributions import Contributions
from hneurons.neurons.states import States
from hneurons.sparse.matrix import ColumnMatrix

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.int64]
_MEMORY = 1 << 30


class Dataset(NamedTuple):
    """Located examples and their contributions, and what some scores read besides.

    - `responses`: all samples of the questions.
    - `states`: what `measure_states` read in a pass of its own.
    - `opinions`: what the model says of its answers (`measure_opinions`).
    - `meanings`: which samples mean the same; strings by default.
    - `spent`: what the work took by which this was made, by kind (`read_timing` of the stages' folders).
    """

    examples: Sequence[Example]
    contributions: Contributions
    responses: Sequence[Response] = ()
    states: States | None = None
    opinions: Opinions | None = None
    meanings: Meanings = Meanings()
    spent: Mapping[str, Spent] = {}


class AnswerRows(NamedTuple):
    """Answer rows of a dataset in the order of their ids.

    - `labels`: bool [rows], True where the answer is wrong.
    - `groups`: what a bootstrap draws whole.
    - `matrix`: the rows' signal.
    - `samples`: the other answers drawn to each row's question, in the order of their numbers.
    - `states`: the residual stream and the like. None where it was not read for every row.
    - `state_rows`: the row of each answer there.
    - `opinions`: what the model says of each answer. Empty where it was not asked about every row.
    - `meanings`: which samples mean the same.
    - `spent`: what the work took that these were made by, by kind.
    """

    examples: list[Example]
    labels: Bools
    groups: list[str]
    matrix: ColumnMatrix
    samples: Sequence[Sequence[Response]] = ()
    states: States | None = None
    state_rows: Sequence[int] = ()
    opinions: Sequence[Opinion] = ()
    meanings: Meanings = Meanings()
    spent: Mapping[str, Spent] = {}

    @property
    def fewest_groups(self) -> int:
        """Groups of the class that has fewer: so many units there are to tell two classes apart by."""
        pairs = list(zip(self.groups, self.labels.tolist(), strict=True))
        return min(len({group for group, wrong in pairs if wrong == of}) for of in (True, False))


class Decided(NamedTuple):
    """Decision values of a method, float64 [rows], and the threshold above which it calls an answer made up."""

    values: Floats
    threshold: float


def check_measured(detector: Detector, data: Dataset, name: str) -> None:
    """Raise `InputError` for contributions of another model or signal than the detector's.

    `name` stands for the dataset in the message.
    """
    measured = ModelIdentity.from_row(data.contributions.manifest.settings["model"])
    differences = detector.identity.differences(measured)
    if differences:
        raise InputError(
            f"the detector belongs to {detector.identity.name}, the contributions of '{name}' to {measured.name} "
            f"({'; '.join(differences)}): measure them with the detector's model"
        )
    if detector.signal != data.contributions.signal:
        raise InputError(
            f"the detector reads the signal '{detector.signal}', the contributions of '{name}' hold "
            f"'{data.contributions.signal}': measure them again with --signal {detector.signal}"
        )


def answer_rows(
    data: Dataset, name: str, *, detector: Detector | None = None, leave_out: Collection[str] = ()
) -> AnswerRows:
    """The located answers of a dataset with their labels and contributions, without the examples to leave out by id.

    Raises `InputError` for contributions of other examples and, with `detector`, what `check_measured` raises;
    `NotEnoughDataError` where no answer is located. `name` stands for the dataset in these messages.
    """
    if detector is not None:
        check_measured(detector, data, name)
    examples = {e.id: e for e in data.examples}
    rows = data.contributions.rows
    numbers = [i for i, row in enumerate(rows) if row["region"] == "answer" and row["example_id"] not in leave_out]
    numbers.sort(key=lambda i: str(rows[i]["id"]))
    unknown = [rows[i]["example_id"] for i in numbers if rows[i]["example_id"] not in examples]
    if unknown:
        raise InputError(
            f"the contributions of '{name}' are of other examples (first: {unknown[0]}): give those that were measured"
        )
    if not numbers:
        raise NotEnoughDataError(f"'{name}' has no located answers: leave it out, or ask more questions")
    chosen = [examples[rows[i]["example_id"]] for i in numbers]
    labels = np.array([e.hallucinated for e in chosen], dtype=bool)
    drawn = group_by_question(data.responses)
    samples = [[r for r in drawn.get(e.question.id, ()) if r.sample != e.response.sample] for e in chosen]
    groups = [e.question.group for e in chosen]
    state_rows = None if data.states is None else data.states.numbers(chosen)
    states = None if state_rows is None else data.states
    matrix = data.contributions.matrix(numbers)
    said = {one.example_id: one for one in data.opinions.rows} if data.opinions else {}
    opinions = [said[e.id] for e in chosen] if all(e.id in said for e in chosen) else ()
    return AnswerRows(
        chosen, labels, groups, matrix, samples, states, state_rows or (), opinions, data.meanings, data.spent
    )  # fmt: skip


def check_both_classes(rows: AnswerRows, name: str) -> None:
    """Raise `NotEnoughDataError` where the answers are all right or all wrong."""
    if rows.labels.all() or not rows.labels.any():
        raise NotEnoughDataError(f"'{name}' has {len(rows.labels)} located answers, all of one class: both are needed")


def check_unseen(train: AnswerRows, test: AnswerRows, name: str) -> None:
    """Raise `InputError` where a question of the test set, or another about the same fact, was trained on."""
    shared = set(train.groups) & set(test.groups)
    if shared:
        raise InputError(
            f"{len(shared)} questions of the test set '{name}' were trained on (first: {min(shared)}): "
            "give a test set of other questions"
        )


def refit(train: AnswerRows, test: AnswerRows, columns: Indices) -> Decided:
    """Logistic regression (L2, C = 1) on standardised columns: decision values on `test` and its threshold."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
    model.fit(train.matrix.gather(columns, _MEMORY).T, train.labels)
    return Decided(model.decision_function(test.matrix.gather(columns, _MEMORY).T), 0.0)


def even_odds(values: Floats, labels: Indices) -> float:
    """The value at which answers are as likely wrong (label 1) as right, by a logistic fit with balanced classes."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(class_weight="balanced").fit(values[:, None], labels)
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    # Where the values do not rank the classes, the middle is as good a threshold as any.
    return -intercept / slope if slope > 1e-6 else float(np.median(values))
