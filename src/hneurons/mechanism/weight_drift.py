"""How far tuning moved each neuron's weights: cosine distances between two checkpoints, streamed layer by layer.

arXiv 2512.01797, section on the origin of H-neurons ("parameter evolution"), asks whether H-neurons change less than
other neurons. Here 0 is a neuron that did not turn at all, and rank 1 the one that turned most.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from hneurons.core.artifacts import FileStage, Manifest, read_result
from hneurons.core.errors import InputError
from hneurons.core.progress import progress

if TYPE_CHECKING:
    from hneurons.models.stored_weights import Projection, StoredModel

STAGE = "drift"
DRIFT_TENSORS = "drift.safetensors"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Drift:
    """Cosine distances (1 - cos) of each neuron's weights between two checkpoints, float64 [layers, neurons].

    `up`: rows of the up-projection, `down`: columns of the down-projection, `gate`: rows of the gate-projection, None
    where there is none. `dtypes`: how the two checkpoints store them; where they differ, rounding alone moves every
    neuron a little.
    """

    base: str
    tuned: str
    up: Floats
    down: Floats
    gate: Floats | None
    dtypes: tuple[str, str]

    @property
    def shape(self) -> tuple[int, int]:
        return self.up.shape[0], self.up.shape[1]

    @property
    def equal(self) -> bool:
        """Whether no projection turned at all."""
        return not self.ranked and (self.gate is None or not self.gate.any())

    @property
    def ranked(self) -> bool:
        """Whether an up- or down-projection turned, so that the score, which leaves the gate out, has ranks."""
        return bool(self.up.any() or self.down.any())

    def score(self) -> Floats:
        """Mean of the z-scores of up and down, each over all neurons of the model, float64 [layers, neurons]."""
        return (z_score(self.up) + z_score(self.down)) / 2

    def to_files(self) -> dict[str, bytes]:
        """The tensors as the file of the stage; equal drifts give equal bytes."""
        from safetensors.numpy import save

        tensors = {"up": self.up, "down": self.down, **({} if self.gate is None else {"gate": self.gate})}
        return {DRIFT_TENSORS: save({k: np.ascontiguousarray(v) for k, v in tensors.items()})}

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a finished folder. Raises `InputError` for another one, `ArtifactError` for a damaged one."""
        return read_result(folder, DRIFT_TENSORS, lambda data: cls._parse(folder, data), stage=STAGE, verb="origin")

    @classmethod
    def _parse(cls, folder: Path, data: bytes) -> Self:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        settings = Manifest.load(folder).settings
        names = (settings["base"], settings["tuned"])
        try:
            tensors = load(data)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        return cls(*names, tensors["up"], tensors["down"], tensors.get("gate"), tuple(settings["dtypes"]))


def measure_drift(base: str, tuned: str, *, out: Path | None = None) -> Drift:
    """Cosine distance of every neuron's up row, down column and gate row between two checkpoints.

    `base` and `tuned` are named as `load_model` takes them. Weights are read from safetensors in blocks of 2 MiB and
    summed in float64; no model is loaded. Equal vectors are exactly 0 apart. A vector that is zero in one checkpoint
    alone counts as turned by a right angle, 1. With `out` the result is kept there and read again,
    in place of one from other weights.

    Raises `InputError` naming what differs for checkpoints of other shapes or architecture, and for weights that are
    no floats; `ArtifactError` for damaged files.
    """
    from hneurons.models.stored_weights import open_stored

    first, second = open_stored(base), open_stored(tuned)
    check_alike(first, second)
    stage = FileStage(
        out,
        stage=STAGE,
        settings={"base": base, "tuned": tuned, "dtypes": [first.dtype, second.dtype]},
        inputs={"base": first.content(), "tuned": second.content()} if out is not None else {},
        replace=True,
    )
    if stage.complete and out is not None:
        return Drift.load(out)
    parts: dict[str, list[Floats]] = {"up": [], "down": [], "gate": []}
    with progress("drift", len(first.layers)) as advance:
        for mine, theirs in zip(first.layers, second.layers, strict=True):
            for name, found in parts.items():
                before, after = getattr(mine, name), getattr(theirs, name)
                if before is not None:
                    found.append(_distances(before, after))
            advance()
    up, down = np.stack(parts["up"]), np.stack(parts["down"])
    gate = np.stack(parts["gate"]) if parts["gate"] else None
    drift = Drift(base, tuned, up, down, gate, (first.dtype, second.dtype))
    stage.finish(drift.to_files(), summarize(drift))
    return drift


def check_alike(base: "StoredModel", tuned: "StoredModel") -> None:
    """Raise `InputError` naming what keeps the neurons of two checkpoints from being the same ones."""
    differences = base.differences(tuned)
    if differences:
        raise InputError(
            f"'{base.name}' and '{tuned.name}' have different neurons ({'; '.join(differences)}): give two "
            "checkpoints of one architecture"
        )


def summarize(drift: Drift) -> dict[str, Any]:
    """Median and largest distance of each projection."""
    parts = {"up": drift.up, "down": drift.down, "gate": drift.gate}
    return {
        name: {"median": float(np.median(values)), "largest": float(values.max())}
        for name, values in parts.items()
        if values is not None
    }


def z_score(values: Floats) -> Floats:
    """(values - mean) / standard deviation over all of them; 0 where they are all equal."""
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)


def _distances(base: "Projection", tuned: "Projection") -> Floats:
    """Cosine distance of each neuron's vector, float64 [neurons].

    With d = a - b: 1 - cos = (|d|^2 - (|a| - |b|)^2) / (2 |a| |b|), which is exact for d = 0 and loses no digits where
    the vectors have hardly turned, as 1 - cos itself would.
    """
    import torch

    dimension = 1 if base.by == "row" else 0
    sums: list[torch.Tensor] = []
    work = torch.empty(0, dtype=torch.float64)
    for a, b in zip(base.tensor.blocks(base.rows), tuned.tensor.blocks(tuned.rows), strict=True):
        work = work if len(work) == 2 * len(a) else torch.empty(2 * len(a), a.shape[1], dtype=torch.float64)
        d, product = work.chunk(2)
        torch.sub(a, b, out=d)
        found = [torch.mul(x, y, out=product).sum(dimension) for x, y in ((a, a), (b, b), (d, d))]
        found.append(torch.mul(d, a.add_(b), out=product).sum(dimension))
        sums.append(torch.stack(found))
    joined = torch.cat(sums, dim=1) if base.by == "row" else torch.stack(sums).sum(dim=0)
    aa, bb, dd, ds = joined.numpy()
    if not np.isfinite(joined.numpy()).all():
        raise InputError("the weights hold values that are not finite: neither distance nor rank can be told")
    a_norm, b_norm = np.sqrt(aa), np.sqrt(bb)
    with np.errstate(invalid="ignore", divide="ignore"):
        turned = dd - (ds / (a_norm + b_norm)) ** 2
        distance = np.clip(turned / (2 * a_norm * b_norm), 0.0, 2.0)
    lost = (a_norm == 0) | (b_norm == 0)
    return np.where(lost, np.where(a_norm == b_norm, 0.0, 1.0), distance)
