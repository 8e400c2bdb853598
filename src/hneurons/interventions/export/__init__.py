"""Scaled neurons for engines without hooks: LoRA adapters, a checkpoint with the scale baked in, an edited GGUF file.

Scaling z_j by alpha is scaling column j of the down-projection, which is adding (alpha - 1) of it: a LoRA. In a gated
FFN it is also scaling row j of the up-projection, which is a run of whole blocks in a GGUF file.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from hneurons.core.artifacts import SCHEMA_VERSION, package_versions
from hneurons.core.errors import InputError
from hneurons.core.files import file_hash

if TYPE_CHECKING:
    from hneurons.interventions.intervention import Intervention
    from hneurons.neurons.neuron_set import NeuronSet

Format = Literal["lora", "weights", "gguf", "lora-gguf"]
FORMATS: tuple[str, ...] = get_args(Format)
MAX_RANK = 512  # the largest rank vLLM serves


@dataclass(frozen=True, slots=True)
class Export:
    """What was written where. `details`: the rank of a LoRA; the largest rounding of a GGUF's block scales."""

    path: Path
    format: str
    alpha: float
    neurons: int
    layers: int
    details: dict[str, Any] = field(default_factory=dict)


def export_neurons(
    neurons: "NeuronSet",
    alpha: float,
    *,
    model: str,
    out: Path,
    format: Format,
    max_rank: int = MAX_RANK,
    gguf: Path | None = None,
) -> Export:
    """Write a model, or an adapter for it, in which these neurons are scaled by alpha: see `export_intervention`."""
    from hneurons.interventions.scaling import NeuronScaling

    scaling = NeuronScaling(neurons, alpha)
    return export_intervention(scaling, model=model, out=out, format=format, max_rank=max_rank, gguf=gguf)


def export_intervention(
    intervention: "Intervention",
    *,
    model: str,
    out: Path,
    format: Format,
    max_rank: int = MAX_RANK,
    gguf: Path | None = None,
) -> Export:
    """Write a model, or an adapter for it, that behaves as the model does under the intervention.

    Only a `NeuronScaling` at all positions and without gate is a change of weights alone. The formats:

    - lora: a PEFT folder; at alpha = 0 the unit adapter, with which an engine's adapter scale s gives alpha = 1 - s.
    - weights: a copy of the checkpoint with scaled columns of the down-projection, rounded to the stored type.
    - gguf: a copy of `gguf`, or of `model` where that is a GGUF file or a packaged model, with scaled rows of the
      up-projection.
    - lora-gguf: the adapter of "lora" for such a file, in llama.cpp's format.

    Nothing is left at `out` when it fails. The model is never loaded, so memory stays bounded.

    Raises:

    - `InputError` for an intervention that is more than a change of weights, and for an unknown format.
    - `InputError` for neurons of another model, for none, for doubled ones, and for a rank above `max_rank`.
    - `InputError` for an `out` that exists, and for a GGUF file of another model or where none is read.
    - `UnsupportedModelError` for a GGUF without gate or of a block type that cannot be scaled.
    """
    from hneurons.interventions.scaling import NeuronScaling

    if not isinstance(intervention, NeuronScaling) or intervention.scope != "all" or intervention.when is not None:
        raise InputError(
            "this intervention is more than a change of weights, so no engine without hooks can run it: export the "
            "scaling of neurons at all positions and without gate"
        )
    neurons, alpha = intervention.neurons, float(intervention.alpha)
    if format not in FORMATS:
        raise InputError(f"unknown format '{format}': known are {', '.join(FORMATS)}")
    of_file = format in ("gguf", "lora-gguf")
    note = out.with_name(f"{out.name}.json")
    for path in (out, note) if of_file else (out,):
        if path.exists():
            raise InputError(f"{path} exists already: choose another --out, or delete it")
    if gguf is not None and not of_file:
        raise InputError(f"--gguf names a GGUF file, which --format {format} does not read: leave it out")
    from hneurons.interventions.export.source import check_neurons
    from hneurons.models.stored_weights import open_stored

    stored = open_stored(model)
    check_neurons(neurons, stored)
    about = _describe(neurons, alpha, format)
    if format == "lora":
        from hneurons.interventions.export.lora import write_lora

        details = write_lora(stored, neurons, alpha, out, max_rank=max_rank, about=about)
    elif format == "weights":
        from hneurons.interventions.export.baked import write_baked

        details = write_baked(stored, neurons, alpha, out, about=about)
    else:
        from hneurons.interventions.export.gguf_edit import find_gguf, write_gguf
        from hneurons.interventions.export.gguf_lora import write_gguf_lora
        from hneurons.interventions.export.target import write_note

        source = find_gguf(model, gguf)
        if format == "gguf":
            details = write_gguf(stored, neurons, alpha, out, source=source)
        else:
            details = write_gguf_lora(stored, neurons, alpha, out, source=source, max_rank=max_rank)
        write_note(note, about | {"gguf": source.name, "gguf_hash": file_hash(source)}, [out])
    return Export(out, format, alpha, len(neurons), len(set(neurons.layers.tolist())), details)


def _describe(neurons: "NeuronSet", alpha: float, format: str) -> dict[str, Any]:
    """What an export is."""
    return {
        "schema_version": SCHEMA_VERSION,
        "format": format,
        "alpha": alpha,
        "model": asdict(neurons.identity),
        "neurons": [[int(i), int(j)] for i, j in zip(neurons.layers, neurons.neurons, strict=True)],
        "data": neurons.data,
        "versions": package_versions(),
    }
