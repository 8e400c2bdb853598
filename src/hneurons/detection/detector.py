"""The detector: a sparse logistic model on contributions over the answer's tokens."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hneurons.core.artifacts import SCHEMA_VERSION, storage_errors, write_atomic
from hneurons.core.errors import ArtifactError, InputError
from hneurons.core.types import ModelIdentity
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.neurons.opening import find_neurons
from hneurons.neurons.signals import CETT
from hneurons.sparse.matrix import ColumnMatrix

Floats = NDArray[np.float64]
DETECTOR_JSON, DETECTOR_TENSORS = "detector.json", "detector.safetensors"
_MEMORY = 1 << 30


@dataclass(frozen=True)
class Detector:
    """log odds of a made-up answer = intercept + sum over columns of coef * signal, in raw units.

    columns: int64 [k], layer * neurons_per_layer + neuron; coef, scale: float64 [k], `coef * scale` being what the
    penalty saw; selection_probability: float64 [k], the share of half-samples that select it, at the point of
    the path where it is largest, NaN if not measured; threshold: the log odds from which an answer is called made up,
    chosen on held-out training folds.
    `settings` and `data` record how and on what it was fitted.
    """

    identity: ModelIdentity
    columns: NDArray[np.int64]
    coef: Floats
    scale: Floats
    selection_probability: Floats
    intercept: float
    threshold: float
    settings: dict[str, Any]
    data: dict[str, Any]

    @property
    def signal(self) -> str:
        """The name of the signal it reads; CETT where nothing is said."""
        return str(self.data.get("signal", CETT))

    def decide(self, matrix: ColumnMatrix) -> Floats:
        """Log odds, float64 [rows]. Raises `InputError` for features of another shape."""
        if matrix.shape[1] != self.identity.layers * self.identity.neurons:
            raise InputError(
                f"the detector of {self.identity.name} reads {self.identity.layers * self.identity.neurons} neurons, "
                f"these rows have {matrix.shape[1]}: measure contributions with the same model"
            )
        if not len(self.columns):
            return np.full(matrix.shape[0], self.intercept)
        return np.asarray(self.coef @ matrix.gather(self.columns, _MEMORY).astype(np.float64) + self.intercept)

    def neuron_set(self) -> NeuronSet:
        """The H-neurons: columns with positive weight (arXiv 2512.01797, section 2.3)."""
        positive = self.coef > 0
        weights = (self.coef * self.scale)[positive]
        return NeuronSet.from_columns(
            self.identity,
            self.columns[positive],
            weights,
            data=self.data,
            selection_probability=self.selection_probability[positive],
        )

    def save(self, folder: Path) -> None:
        """Write `detector.json`, `detector.safetensors` and the neuron set's files; no pickle."""
        from safetensors.numpy import save

        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        names = ("columns", "coef", "scale", "selection_probability")
        tensors = {name: getattr(self, name) for name in names}
        write_atomic(folder / DETECTOR_TENSORS, save({k: np.ascontiguousarray(v) for k, v in tensors.items()}))
        row = {
            "schema_version": SCHEMA_VERSION,
            "model": asdict(self.identity),
            "size": len(self.columns),
            "intercept": self.intercept,
            "threshold": self.threshold,
            "settings": self.settings,
            "data": self.data,
        }
        write_atomic(folder / DETECTOR_JSON, json.dumps(row, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
        self.neuron_set().save(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a saved detector. Raises `InputError` when there is none, `ArtifactError` when it is damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        if not (folder / DETECTOR_JSON).is_file():
            raise InputError(f"{folder} holds no detector (no {DETECTOR_JSON}): give the --out folder of 'fit'")
        try:
            row = json.loads((folder / DETECTOR_JSON).read_text(encoding="utf-8"))
            tensors = load_file(folder / DETECTOR_TENSORS)
            if {len(values) for values in tensors.values()} != {row["size"]}:
                raise ValueError(f"its JSON counts {row['size']} columns, its tensors do not")
            return cls(
                identity=ModelIdentity(**row["model"]),
                **tensors,
                intercept=row["intercept"],
                threshold=row["threshold"],
                settings=row["settings"],
                data=row["data"],
            )
        except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
            raise ArtifactError(f"the detector in {folder} is damaged ({error}): run 'fit' again") from error


def open_detector(source: str | Path) -> Detector:
    """The detector of a run, a folder of 'fit', a release or a hub id, named as in `open_neurons`.

    Raises `InputError` where neurons stand alone, and what `open_neurons` raises.
    """
    folder = find_neurons(source).folder
    if not (folder / DETECTOR_JSON).is_file():
        raise InputError(
            f"{folder} holds neurons but no detector (no {DETECTOR_JSON}): give a run, the folder of 'fit' or a release"
        )
    return Detector.load(folder)
