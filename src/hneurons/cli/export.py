"""`hneurons export`, `publish` and `import-classifier`: neuron sets and interventions for other people's tools."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from hneurons.cli.output import echo


@contextmanager
def _file_errors() -> Iterator[None]:
    """Turn what the system says about a path (no permission, too long a name) into `InputError`."""
    from hneurons.core.errors import InputError

    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        where = error.filename or "a file"
        raise InputError(f"could not use {where}: {error.strerror or error}: check the path and permissions") from error


@_file_errors()
def export(
    neurons: Annotated[str, typer.Argument(help="Run, detector, neuron set, release or hub id.")],
    model: Annotated[str, typer.Option(help="Hub id, local folder, .gguf file or packaged model of these neurons.")],
    out: Annotated[Path, typer.Option("--out", help="New folder, or new file for gguf and lora-gguf.")],
    alpha: Annotated[float, typer.Option(help="Factor of the neurons' activations; 0 silences, 1 changes nothing.")],
    format: Annotated[
        str, typer.Option(help="lora (PEFT), weights (checkpoint), gguf (edited copy), lora-gguf (for llama.cpp).")
    ],
    gguf: Annotated[Path | None, typer.Option(help="GGUF file you serve; default: --model, if that is one.")] = None,
    max_rank: Annotated[int, typer.Option(help="Refuse a LoRA of a higher rank; vLLM serves up to 512.")] = 512,
    json: Annotated[bool, typer.Option("--json", help="Result as JSON on standard output, nothing else.")] = False,
) -> None:
    """Write a model or adapter in which the neurons are scaled, for engines without hooks."""
    from dataclasses import asdict

    from hneurons.cli.output import print_json
    from hneurons.interventions.export import export_neurons
    from hneurons.neurons.opening import open_neurons

    chosen = open_neurons(neurons)
    done = export_neurons(
        chosen, alpha, model=model, out=out, format=format, max_rank=max_rank, gguf=gguf  # type: ignore[arg-type]
    )  # fmt: skip
    if json:
        print_json({**asdict(done), "path": str(out)})
        return
    details = "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in done.details.items())
    echo(f"{out}: {done.neurons} neurons in {done.layers} layers at alpha {alpha:g} as {format}; {details}")


@_file_errors()
def publish(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run, as given to --out.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the release to write.")],
    push: Annotated[str | None, typer.Option(help="Also upload it to this hub repository (owner/name).")] = None,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public; default: private.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Result as JSON on standard output, nothing else.")] = False,
) -> None:
    """Turn a run into a folder for others: detector, neurons, where it works and where it failed, model card."""
    from dataclasses import asdict

    from hneurons.cli.output import print_json
    from hneurons.releases.release import push_release, save_release
    from hneurons.runs.folder import RunFolder

    run = RunFolder(folder)
    run.check_current()
    plan = asdict(run.plan)
    release = save_release(out, run.load_detector(), run.load_evaluation(), plan=plan, learned=run.detector)
    address = push_release(out, push, public=public) if push is not None else None
    if json:
        print_json({"folder": str(out), "address": address, **release.about})
        return
    echo(f"{out}: {len(release.neurons)} neurons, tested on {', '.join(release.about['tested_on']) or 'nothing'}")
    for domain in release.about["domains"]:
        echo(f"{domain['outcome']}: {domain['name']}: {domain['reason']}")
    if address:
        echo(f"pushed to {address}")


@_file_errors()
def import_classifier(
    source: Annotated[Path, typer.Argument(help=".npz or .safetensors with coef and intercept; see docs/artifact.md.")],
    model: Annotated[str, typer.Option(help="Hub id, local folder, .gguf file or packaged model it was fitted on.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the detector to write.")],
    json: Annotated[bool, typer.Option("--json", help="Result as JSON on standard output, nothing else.")] = False,
) -> None:
    """Turn a scikit-learn classifier on all neurons, as the paper's authors publish them, into a detector."""
    from hneurons.cli.output import print_json
    from hneurons.models.stored_weights import open_stored
    from hneurons.releases.classifier_import import read_classifier

    detector = read_classifier(source, open_stored(model).identity())
    detector.save(out)
    found = {"folder": str(out), "columns": len(detector.columns), "neurons": len(detector.neuron_set())}
    if json:
        print_json(found)
    else:
        echo(f"{out}: {found['columns']} columns, {found['neurons']} of them H-neurons (positive weight)")
