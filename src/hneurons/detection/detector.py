"""The detector: a sparse logistic model on contributions over the answer's tokens."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hneurons.answers.questions import question_marks
from hneurons.core.errors import ArtifactError, InputError
from hneurons.core.files import checked_json, read_checked, storage_errors, write_atomic
from hneurons.core.rows import from_row, to_row
from hneurons.core.seeds import fingerprint
from hneurons.core.showing import one_line
from hneurons.core.types import ModelIdentity, Question
from hneurons.core.wording import count
from hneurons.models.prompts import PromptStyle
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.neurons.opening import FITTED_ON, find_neurons
from hneurons.neurons.signals import CETT
from hneurons.neurons.tensors import pack_tensors, unpack_tensors
from hneurons.sparse.matrix import ColumnMatrix

Floats = NDArray[np.float64]
DETECTOR_JSON, DETECTOR_TENSORS = "detector.json", "detector.safetensors"
_FIELDS = ("model", "size", "intercept", "threshold", "settings", "data")
_MEMORY = 1 << 30


@dataclass(frozen=True)
class Detector:
    """log odds of a made-up answer = intercept + sum over columns of coef * signal, in raw units.

    - `columns`: int64 [k], layer * neurons_per_layer + neuron.
    - `coef`, `scale`: float64 [k]. The penalty saw `coef * scale`.
    - `selection_probability`: float64 [k], the share of half-samples that select the column, at the point of the path
      where this share is largest. NaN where it was not measured.
    - `threshold`: the log odds from which an answer is called made up, chosen on held-out training folds.
    - `settings`, `data`: how and on what it was fitted.
    - `fitted_on`: the marks (`question_marks`) of all questions that it was fitted on; None where they are not known.
      They lie in a file of their own and are no part of `content`.
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
    fitted_on: frozenset[str] | None = None

    def __repr__(self) -> str:
        found = f"{count(len(self.columns), 'neuron')}, {(self.coef > 0).sum()} of positive weight"
        return one_line(self, found, f"of {self.identity.name}", f"threshold {self.threshold:.3g}")

    def _repr_html_(self) -> str:
        return self.neuron_set()._repr_html_()

    @property
    def signal(self) -> str:
        """The name of the signal it reads; CETT where nothing is said."""
        return str(self.data.get("signal", CETT))

    @property
    def style(self) -> PromptStyle:
        """How questions were put when it was fitted. Raises `InputError` where it does not say, as earlier ones."""
        if "style" not in self.data:
            raise InputError(
                "the detector does not say how its questions were put: fit it again, or give the prompt's style"
            )
        return PromptStyle.from_row(self.data["style"])

    @property
    def content(self) -> str:
        """16 hex digits of the detector: what it reads, its weights and threshold, how and on what it was fitted."""
        arrays = [array.tolist() for array in (self.columns, self.coef, self.scale)]
        values = [self.identity, *arrays, self.intercept, self.threshold, self.settings, self.data]
        return fingerprint(to_row(values))

    def has_seen(self, question: Question) -> bool:
        """Whether it is known to have been fitted on this question, or on another of its group."""
        return bool(self.fitted_on) and not question_marks(question).isdisjoint(self.fitted_on or ())

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
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.to_files().items():
            write_atomic(folder / name, data)

    def to_files(self) -> dict[str, bytes]:
        """The files that `save` writes, by name."""
        from safetensors.numpy import save

        names = ("columns", "coef", "scale", "selection_probability")
        tensors = save({name: np.ascontiguousarray(getattr(self, name)) for name in names})
        row = {
            "model": self.identity,
            "size": len(self.columns),
            "intercept": self.intercept,
            "threshold": self.threshold,
            "settings": self.settings,
            "data": self.data,
        }
        files = pack_tensors(row, DETECTOR_JSON, DETECTOR_TENSORS, tensors) | self.neuron_set().to_files()
        if self.fitted_on is not None:
            files[FITTED_ON] = checked_json({"detector": self.content, "questions": sorted(self.fitted_on)})
        return files

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a saved detector. Raises `InputError` where there is none, `ArtifactError` where it is damaged."""
        from safetensors import SafetensorError

        if not (folder / DETECTOR_JSON).is_file():
            raise InputError(f"{folder} holds no detector (no {DETECTOR_JSON}): give the --out folder of 'fit'")
        try:
            row, tensors = unpack_tensors(folder, DETECTOR_JSON, DETECTOR_TENSORS, _FIELDS)
            if {len(values) for values in tensors.values()} != {row["size"]}:
                raise ValueError(f"its JSON counts {row['size']} columns, its tensors do not")
            found = cls(
                identity=ModelIdentity.from_row(row["model"]),
                **tensors,
                intercept=from_row(float, row["intercept"]),
                threshold=from_row(float, row["threshold"]),
                settings=row["settings"],
                data=row["data"],
            )
            return replace(found, fitted_on=_read_fitted_on(folder, found.content))
        except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
            raise ArtifactError(f"the detector in {folder} is damaged ({error}): run 'fit' again") from error


def _read_fitted_on(folder: Path, content: str) -> frozenset[str] | None:
    """None where the file is not there, or belongs to an earlier detector in this folder."""
    if not (folder / FITTED_ON).is_file():
        return None
    row = read_checked(folder / FITTED_ON)
    return frozenset(from_row(list[str], row["questions"])) if row["detector"] == content else None


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
