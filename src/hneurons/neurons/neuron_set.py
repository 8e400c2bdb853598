"""H-neurons: which neurons of which model, with what weight, found on what data."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from hneurons.core.errors import ArtifactError, InputError
from hneurons.core.files import storage_errors, write_atomic
from hneurons.core.showing import data_frame, html_table, one_line
from hneurons.core.types import ModelIdentity
from hneurons.core.wording import count, number
from hneurons.neurons.signals import CETT
from hneurons.neurons.tensors import pack_tensors, unpack_tensors

if TYPE_CHECKING:
    from pandas import DataFrame

    from hneurons.models.language_model import LanguageModel

NEURONS_JSON, NEURONS_TENSORS = "neurons.json", "neurons.safetensors"
SHOWN = 10
"""Neurons in a table of the strongest."""


@dataclass(frozen=True)
class NeuronSet:
    """Neurons of one model, strongest first.

    layers, neurons: int64 [k]; weights: float64 [k], coefficients on the scale the penalty saw (positive for
    H-neurons, arXiv 2512.01797, section 2.3); selection_probability: float64 [k], NaN where it was not measured.
    `data` identifies what the set was fitted on.
    """

    identity: ModelIdentity
    layers: NDArray[np.int64]
    neurons: NDArray[np.int64]
    weights: NDArray[np.float64]
    selection_probability: NDArray[np.float64]
    data: dict[str, Any]

    def __post_init__(self) -> None:
        if not len(self.layers) == len(self.neurons) == len(self.weights) == len(self.selection_probability):
            raise InputError("a neuron set needs as many layers as neurons, weights and selection probabilities")
        rows, width = self.identity.layers, self.identity.neurons
        outside = [
            (int(i), int(j))
            for i, j in zip(self.layers, self.neurons, strict=True)
            if not (0 <= i < rows and 0 <= j < width)
        ]
        if outside:
            raise InputError(
                f"neuron {outside[0]} does not exist in a model of {rows} layers with {width} neurons each"
            )

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        return one_line(self, f"{count(len(self), 'neuron')} of {self.identity.name}", f"signal {self.signal}")

    def _repr_html_(self) -> str:
        names = ("layers", "neurons", "weights", "selection_probability")
        rows = zip(*(getattr(self, name)[:SHOWN].tolist() for name in names), strict=True)
        return html_table(
            f"{count(len(self), 'neuron')} of {self.identity.name}, the strongest first",
            ("layer", "neuron", "weight", "selection probability"),
            [(layer, neuron, number(weight), number(chosen, 2)) for layer, neuron, weight, chosen in rows],
        )

    def to_pandas(self) -> "DataFrame":
        """All neurons, strongest first: layer, neuron, weight, selection_probability. Needs the extra `pandas`."""
        return data_frame(
            {
                "layer": self.layers,
                "neuron": self.neurons,
                "weight": self.weights,
                "selection_probability": self.selection_probability,
            }
        )

    @property
    def signal(self) -> str:
        """The name of the signal the set was found by; CETT where nothing is said."""
        return str(self.data.get("signal", CETT))

    @property
    def columns(self) -> NDArray[np.int64]:
        """layer * neurons_per_layer + neuron, int64 [k]."""
        return np.asarray(self.layers * self.identity.neurons + self.neurons)

    @property
    def share(self) -> float:
        """Share of all the model's FFN neurons (the paper reports per mille)."""
        return len(self) / (self.identity.layers * self.identity.neurons)

    def check_model(self, model: "LanguageModel") -> None:
        """Raise `InputError` naming what differs when `model` is not the one these neurons belong to."""
        self.check_identity(model.identity)

    def check_identity(self, identity: ModelIdentity) -> None:
        """As `check_model`, for a model that is not loaded."""
        differences = self.identity.differences(identity)
        if differences:
            raise InputError(
                f"these neurons belong to {self.identity.name}, not to {identity.name} ({'; '.join(differences)}): "
                "neuron indices mean nothing in another model"
            )

    def save(self, folder: Path) -> None:
        """Write `neurons.json` and `neurons.safetensors`; equal sets give equal bytes."""
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.to_files().items():
            write_atomic(folder / name, data)

    def to_files(self) -> dict[str, bytes]:
        """The files that `save` writes, by name: the tensors, then the JSON that holds their hash."""
        from safetensors.numpy import save

        names = ("layers", "neurons", "weights", "selection_probability")
        tensors = save({name: np.ascontiguousarray(getattr(self, name)) for name in names})
        row = {"model": self.identity, "size": len(self), "data": self.data}
        return pack_tensors(row, NEURONS_JSON, NEURONS_TENSORS, tensors)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a saved set. Raises `InputError` when there is none, `ArtifactError` when it is damaged or changed."""
        from safetensors import SafetensorError

        if not (folder / NEURONS_JSON).is_file():
            raise InputError(f"{folder} holds no neuron set (no {NEURONS_JSON}): give the --out folder of 'fit'")
        try:
            row, tensors = unpack_tensors(folder, NEURONS_JSON, NEURONS_TENSORS, ("model", "size", "data"))
            if any(tensors[name].ndim != 1 or tensors[name].dtype.kind != "i" for name in ("layers", "neurons")):
                raise ValueError("its indices are no list of whole numbers")
            loaded = cls(identity=ModelIdentity.from_row(row["model"]), data=row["data"], **tensors)
            size = row["size"]
        except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
            raise ArtifactError(f"the neuron set in {folder} is damaged ({error}): run 'fit' again") from error
        if len(loaded) != size:
            raise ArtifactError(
                f"the neuron set in {folder} has {len(loaded)} neurons, its JSON says {size}: run 'fit' again"
            )
        return loaded

    @classmethod
    def from_columns(
        cls,
        identity: ModelIdentity,
        columns: NDArray[np.int64],
        weights: NDArray[np.float64],
        *,
        data: dict[str, Any],
        selection_probability: NDArray[np.float64] | None = None,
    ) -> Self:
        """The set of these columns, strongest weight first."""
        order = np.argsort(-weights, kind="stable")
        probability = np.full(len(columns), np.nan) if selection_probability is None else selection_probability
        layers, neurons = np.divmod(columns[order], identity.neurons)
        return cls(identity, layers, neurons, weights[order], probability[order], data)
