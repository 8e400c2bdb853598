"""Our own detector as the rows that the stability audit reads: its penalty path, and each neuron on unseen answers."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hneurons.core.errors import InputError, NotEnoughDataError
from hneurons.core.rows import field_row
from hneurons.core.stats import Floats, auroc
from hneurons.detection.answer_rows import AnswerRows, Dataset, answer_rows
from hneurons.detection.detector import Detector
from hneurons.detection.fitting import training_rows
from hneurons.records.record import RunSettings
from hneurons.records.recorded_run import Run, make_run
from hneurons.records.rows import NeuronRow, PathPoint
from hneurons.sparse.path import fit_path

_MEMORY = 1 << 28


def record_fit(name: str, detector: Detector, train: Dataset, tests: Mapping[str, Dataset]) -> list[Run]:
    """Two recorded runs of a fitted detector, one of its penalty path and one of its neurons.

    The path is fitted again on `train`, at the penalties that `fit` tried. Its accuracy is that on all answers of
    `tests`, an answer being called made up at even odds. Neurons are measured on the answers of each test set.

    Raises:

    - `InputError` for a detector that `fit` did not make here, and for contributions of another model or signal.
    - `NotEnoughDataError` where no test set has a located answer.
    """
    points = detector.settings.get("path")
    if not points or detector.data.get("contributions") != train.contributions.content:
        raise InputError(
            f"the penalty path of {name} cannot be traced: its detector was not fitted on the contributions beside it; "
            "run 'fit' again"
        )
    rows = {test: answer_rows(data, test, detector=detector) for test, data in tests.items()}
    if not rows:
        raise NotEnoughDataError(f"{name} has no test set with located answers: its neurons cannot be tested")
    used = training_rows(train.contributions, detector.settings["labels"])
    path = fit_path(
        train.contributions.matrix(used.numbers),
        used.positive,
        ratios=[point["lambda_ratio"] for point in points],
        class_weight="balanced",
        standardize=detector.settings["columns"] == "standardized",
    )
    width = detector.identity.neurons
    right = [(path.decide(test.matrix) > 0) == test.labels for test in rows.values()]
    accuracies = np.concatenate(right, axis=1).mean(axis=1)
    layers, neurons = np.divmod(path.columns, width)
    traced = path_points(path.C.tolist(), path.weights, layers, neurons, accuracies.tolist())
    measured = [row for test, answers in rows.items() for row in _measure(detector, answers, test)]
    return [
        make_run(f"{name} {kind}", RunSettings(name, kind=kind), [field_row(row) for row in found])
        for kind, found in (("penalty_path", traced), ("neurons", measured))
    ]


def _measure(detector: Detector, rows: AnswerRows, name: str) -> list[NeuronRow]:
    """The detector's columns on one test set."""
    if not len(detector.columns):
        return []
    layers, neurons = np.divmod(detector.columns, detector.identity.neurons)
    values = rows.matrix.gather(detector.columns, _MEMORY).T.astype(np.float64) / detector.scale
    weights, intercept = detector.coef * detector.scale, detector.intercept - detector.threshold
    return measure_neurons(values, rows.labels.astype(np.int64), weights, intercept, layers, neurons, condition=name)


def path_points(
    penalties: Sequence[float], weights: Floats, layers: NDArray[np.int64], neurons: NDArray[np.int64],
    accuracies: Sequence[float] | None = None,
) -> list[PathPoint]:  # fmt: skip
    """Rows for a fitted path. `weights`: penalties x neurons; neurons that are zero throughout are left out."""
    ever = np.flatnonzero((weights != 0).any(axis=0))
    rows = []
    for place, penalty in enumerate(penalties):
        sizes = int((weights[place] != 0).sum()), int((weights[place] > 0).sum())
        accuracy = None if accuracies is None else float(accuracies[place])
        for column in ever:
            rows.append(
                PathPoint(float(penalty), accuracy, *sizes, int(layers[column]), int(neurons[column]),
                          float(weights[place, column]))
            )  # fmt: skip
    return rows


def measure_neurons(
    features: Floats, labels: NDArray[np.int64], weights: Floats, intercept: float, layers: NDArray[np.int64],
    neurons: NDArray[np.int64], *, condition: str = "",
) -> list[NeuronRow]:  # fmt: skip
    """Test each selected neuron of a linear detector on held-out rows.

    `features`: rows x selected neurons, scaled as at fit. `ablation_drop` is the accuracy lost when the neuron's
    term is replaced by its mean, `max_correlation` the largest |r| with another selected neuron.
    """
    terms = features * weights
    score = terms.sum(axis=1) + intercept
    accuracy = ((score > 0) == labels).mean()
    spread = features.std(axis=0) > 0
    correlation = np.zeros((len(weights), len(weights)))
    if spread.sum() > 1:
        correlation[np.ix_(spread, spread)] = np.abs(np.corrcoef(features[:, spread], rowvar=False))
    np.fill_diagonal(correlation, 0)
    ranks = np.empty(len(weights), dtype=int)
    ranks[np.argsort(-weights, kind="stable")] = np.arange(1, len(weights) + 1)
    rows = []
    for k, weight in enumerate(weights):
        without = score - terms[:, k] + terms[:, k].mean()
        rows.append(
            NeuronRow(
                int(layers[k]), int(neurons[k]), condition, weight=float(weight), rank=int(ranks[k]),
                auroc=auroc(labels, features[:, k]), ablation_drop=float(accuracy - ((without > 0) == labels).mean()),
                max_correlation=float(correlation[k].max()),
            )
        )  # fmt: skip
    return rows
