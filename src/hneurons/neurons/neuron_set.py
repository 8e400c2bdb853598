"""H-neurons: which neurons of which model, with what weight, found on what data."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from hneurons.core.artifacts import SCHEMA_VERSION, storage_errors, write_atomic
from hneurons.core.errors import ArtifactError, InputError
from hneurons.core.types import ModelIdentity
from hneurons.neurons.signals import CETT

if TYPE_CHECKING:
    from hneurons.models.language_model import LanguageModel

NEURONS_JSON, NEURONS_TENSORS = "neurons.json", "neurons.safetensors"


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
        from safetensors.numpy import save

        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_atomic(
            folder / NEURONS_TENSORS, save({name: np.ascontiguousarray(v) for name, v in self._tensors().items()})
        )
        row = {"schema_version": SCHEMA_VERSION, "model": asdict(self.identity), "size": len(self), "data": self.data}
        write_atomic(folder / NEURONS_JSON, json.dumps(row, indent=1, ensure_ascii=False, sort_keys=True) + "\n")

    def _tensors(self) -> dict[str, NDArray[Any]]:
        names = ("layers", "neurons", "weights", "selection_probability")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a saved set. Raises `InputError` when there is none, `ArtifactError` when it is damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        if not (folder / NEURONS_JSON).is_file():
            raise InputError(f"{folder} holds no neuron set (no {NEURONS_JSON}): give the --out folder of 'fit'")
        try:
            row = json.loads((folder / NEURONS_JSON).read_text(encoding="utf-8"))
            tensors = load_file(folder / NEURONS_TENSORS)
            if any(tensors[name].ndim != 1 or tensors[name].dtype.kind != "i" for name in ("layers", "neurons")):
                raise ValueError("its indices are no list of whole numbers")
            loaded, size = cls(identity=ModelIdentity(**row["model"]), data=row["data"], **tensors), row["size"]
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
