"""Whether two fits found the same neurons: overlap beyond chance and agreement of selection probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from hneurons.core.artifacts import MANIFEST, Manifest, read_file
from hneurons.core.errors import ArtifactError, InputError, NotEnoughDataError
from hneurons.mechanism.overlap_null import OverlapNull
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.neurons.opening import find_neurons
from hneurons.sparse.state import STATE

Probabilities = Mapping[int, float]
"""Column -> selection probability, of every column that any half-sample selected."""


@dataclass(frozen=True, slots=True)
class SetDrift:
    """How far two neuron sets of one architecture agree.

    - `jaccard`: shared / union.
    - `overlap`: shared / the smaller set, NaN where that is empty.
    - `uniform`: neurons that two sets of these sizes share on average if every neuron is as likely as any other. Fits
      do not choose so, and no p-value follows from it.
    - `expected`, `p`: mean number shared by fits to permuted labels, and (1 + those that share at least as many) /
      (1 + all). NaN without permutations.
    - `permutations`, `shared_questions`: how many there were, and questions that both were fitted on.
    - `correlation`: Spearman's, over the union, of `compared`, NaN for fewer than three neurons or where a side is
      constant. It tends below 0 where few neurons are shared, since each is there because one of the fits rates it
      highly.
    """

    size_a: int
    size_b: int
    total: int
    shared: int
    jaccard: float
    overlap: float
    uniform: float
    expected: float
    p: float
    permutations: int
    shared_questions: int | None
    correlation: float
    compared: Literal["selection probabilities", "weights"]
    same_weights: bool

    @property
    def drift(self) -> float:
        """1 - Jaccard: 0 for equal sets, 1 for sets that share no neuron."""
        return 1 - self.jaccard


def compare_sets(
    a: NeuronSet,
    b: NeuronSet,
    *,
    probabilities: tuple[Probabilities, Probabilities] | None = None,
    null: OverlapNull | None = None,
) -> SetDrift:
    """Compare the neuron sets fitted on two checkpoints, or on two samples, of one architecture.

    `probabilities`, as `read_probabilities` gives them, also know neurons that were sometimes selected but are not in
    the set; without them a neuron outside a set counts as 0 there. Weights stand in where a set has no selection
    probabilities. `null` is what `permute_overlap` gives for the two fits.

    Raises `InputError` naming the difference for sets of models of other shapes or architecture, `NotEnoughDataError`
    where both are empty.
    """
    fields = ("architecture", "layers", "neurons", "hidden_size")
    differences = [
        f"{name.replace('_', ' ')}: {getattr(a.identity, name)} against {getattr(b.identity, name)}"
        for name in fields
        if getattr(a.identity, name) != getattr(b.identity, name)
    ]
    if differences:
        raise InputError(
            f"the sets belong to models with different neurons, {a.identity.name} and {b.identity.name} "
            f"({'; '.join(differences)}): compare sets of one architecture"
        )
    first, second = set(a.columns.tolist()), set(b.columns.tolist())
    union = np.array(sorted(first | second), dtype=np.int64)
    if not len(union):
        raise NotEnoughDataError("neither set holds a neuron, so they cannot be compared: fit with a weaker penalty")
    shared, total = len(first & second), a.identity.layers * a.identity.neurons
    values, compared = _values(a, b, union, probabilities)
    smaller, drawn = min(len(first), len(second)), np.array(() if null is None else null.shared)
    return SetDrift(
        size_a=len(first),
        size_b=len(second),
        total=total,
        shared=shared,
        jaccard=shared / len(union),
        overlap=shared / smaller if smaller else float("nan"),
        uniform=len(first) * len(second) / total,
        expected=float(np.mean(drawn)) if len(drawn) else float("nan"),
        p=(1 + int((drawn >= shared).sum())) / (1 + len(drawn)) if len(drawn) else float("nan"),
        permutations=len(drawn),
        shared_questions=None if null is None else null.questions,
        correlation=_spearman(*values),
        compared=compared,
        same_weights=a.identity.same_weights(b.identity),
    )


def read_probabilities(source: str | Path) -> dict[int, float] | None:
    """Selection probabilities from the half-samples kept beside a detector; None where there are none.

    `source` names the neurons as in `open_neurons`.
    """
    place = find_neurons(source).folder / "stability"
    if not (place / MANIFEST).is_file():
        return None
    from safetensors import SafetensorError
    from safetensors.numpy import load

    manifest = Manifest.load(place)
    try:
        if not manifest.complete:
            raise ValueError("it is unfinished")
        tensors = load(read_file(place, STATE, manifest, verb="'fit'"))
        halves = range(1, manifest.expected)  # path 0 is fitted on all rows
        counts: dict[tuple[int, int], int] = {}
        for half in halves:
            coef, columns = tensors[f"{half}.coef"], tensors[f"{half}.columns"]
            length = int(tensors[f"{half}.numbers"][1])
            for point, place_of in np.argwhere(coef[:length] != 0):
                key = (int(columns[place_of]), int(point))
                counts[key] = counts.get(key, 0) + 1
    except (OSError, ValueError, KeyError, IndexError, SafetensorError) as error:
        raise ArtifactError(f"{place / STATE} is damaged ({error}): run 'fit' again") from error
    found: dict[int, float] = {}
    for (column, _), count in counts.items():
        found[column] = max(found.get(column, 0.0), count / len(halves))
    return found


def _values(
    a: NeuronSet, b: NeuronSet, union: np.ndarray, probabilities: tuple[Probabilities, Probabilities] | None
) -> tuple[tuple[list[float], list[float]], Literal["selection probabilities", "weights"]]:
    """What the correlation compares on both sides, over the union."""
    if probabilities is None and all(np.isfinite(s.selection_probability).all() for s in (a, b)):
        probabilities = (_by_column(a, a.selection_probability), _by_column(b, b.selection_probability))
    if probabilities is not None:
        return _both(probabilities, union), "selection probabilities"
    return _both((_by_column(a, a.weights), _by_column(b, b.weights)), union), "weights"


def _by_column(neurons: NeuronSet, values: np.ndarray) -> dict[int, float]:
    return dict(zip(neurons.columns.tolist(), values.tolist(), strict=True))


def _both(known: tuple[Probabilities, Probabilities], union: np.ndarray) -> tuple[list[float], list[float]]:
    first, second = ([side.get(column, 0.0) for column in union.tolist()] for side in known)
    return first, second


def _spearman(a: list[float], b: list[float]) -> float:
    from scipy.stats import spearmanr

    if len(a) < 3 or len(set(a)) == 1 or len(set(b)) == 1:
        return float("nan")
    return float(spearmanr(a, b).statistic)
