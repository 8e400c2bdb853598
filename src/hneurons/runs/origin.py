"""Were a run's neurons there before tuning? Transfer of its detector to the base model, and drift of its neurons.

RUN/origin/base/NAME/STAGE/   the base model's own answers to the run's test questions, in the run's stages
RUN/origin/transfer/          the detector on them, beside random neurons and a refit
RUN/origin/drift/             cosine distances of every neuron's weights
RUN/origin/origin.json        all results
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hneurons.core.artifacts import FileStage, Manifest, read_result
from hneurons.core.errors import ArtifactError, InputError
from hneurons.core.rows import Row, dump_json, load_json
from hneurons.core.seeds import fingerprint
from hneurons.core.types import Question
from hneurons.detection.transfer import TransferResult
from hneurons.mechanism.drift_ranks import DriftRanks
from hneurons.runs.folder import PARTS
from hneurons.runs.plan import TRAIN
from hneurons.runs.run import Run

if TYPE_CHECKING:
    from hneurons.detection.detector import Detector
    from hneurons.models.language_model import LanguageModel
    from hneurons.models.prompts import PromptStyle

ORIGIN = "origin"
RESULT = "origin.json"


@dataclass(frozen=True)
class Origin(Row):
    """What `measure_origin` found.

    - `transfer`: results by dataset.
    - `ranks`: None for a detector without H-neurons.
    - `distances`: median and largest cosine distance of each projection.
    - `dtypes`: how base and tuned checkpoint store their weights.
    - `counts`: the base model's stages by dataset.
    - `detector`: identifies the detector by its settings and data.
    """

    base: str
    tuned: str
    transfer: dict[str, TransferResult]
    ranks: DriftRanks | None
    distances: dict[str, dict[str, float]]
    dtypes: tuple[str, str]
    counts: dict[str, dict[str, Any]]
    detector: str


class BaseRun(Run):
    """The stages of a run for its base model: the run's test questions in base format, one natural sample each."""

    def __init__(self, run: Run, base: str) -> None:
        # The run's sampler, if any, serves the tuned model and is no use here.
        super().__init__(run.folder, device=run.device, max_rows=run.max_rows, endpoint=run.endpoint)
        self.run, self.base = run, base

    @cached_property
    def model(self) -> "LanguageModel":
        from hneurons.models.language_model import load_model

        return load_model(self.base, dtype=self.plan.dtype, device=self.device)  # type: ignore[arg-type]

    @cached_property
    def questions(self) -> dict[str, list[Question]]:
        return {name: asked for name, asked in self.run.questions.items() if name != TRAIN}

    @cached_property
    def style(self) -> "PromptStyle":
        from hneurons.models.prompts import PromptStyle

        return PromptStyle(shots=self.run.style.shots, chat=False)

    def datasets(self) -> list[str]:
        return [name for name in self.run.datasets() if name != TRAIN]

    def place(self, dataset: str, stage: str) -> Path:
        return self.folder / ORIGIN / "base" / dataset / stage


def measure_origin(run: Run, base: str, *, tuned: str | None = None, draws: int = 100) -> Origin:
    """Transfer and drift of a finished run's detector (arXiv 2512.01797, the section on the origin of H-neurons).

    `base` is the checkpoint before tuning, `tuned` the run's own model where it lies elsewhere now. The base model
    answers the run's test questions in base format ("Answer:", ending at the line break) with the run's examples and
    sampling. Its answers are judged, selected, located and measured as the run's were. `draws` random sets of each
    kind stand beside the detector.

    Everything is kept in RUN/origin, and an interrupted call resumes there. Samples of another base are refused.
    Transfer and drift are made anew where their inputs or settings changed.

    Raises `InputError` for an unfinished run, a `tuned` that is not the run's model, or a base of another
    architecture, shape or tokenizer, before anything is written.
    """
    from hneurons.detection.transfer import check_transferable, transfer_detector
    from hneurons.mechanism.drift_ranks import average_contributions, rank_drift
    from hneurons.mechanism.weight_drift import check_alike, measure_drift, summarize
    from hneurons.models.stored_weights import open_stored

    detector, tuned = run.load_detector(), tuned or run.plan.model
    folder = run.folder / ORIGIN
    _check_tuned(detector, tuned)
    check_alike(open_stored(base), open_stored(tuned))
    job = BaseRun(run, base)
    tokenizers = _load_tokenizers(job, tuned)
    check_transferable(detector, job.model.identity, tokenizers=tokenizers)
    for stage in (job.sample, job.label, job.select, job.locate, job.contributions):
        stage()
    drift = measure_drift(base, tuned, out=folder / "drift")
    there = {name: job.dataset(name) for name in job.testable()}
    own = {name: run.dataset(name) for name in run.testable() if name in there}
    train = run.dataset(TRAIN)
    transfer = transfer_detector(
        detector, train, there, tuned=own, tokenizers=tokenizers, draws=draws, seed=run.plan.seed,
        out=folder / "transfer",
    )  # fmt: skip
    neurons, ranks = detector.neuron_set(), None
    if len(neurons):
        means = average_contributions(train.contributions)
        ranks = rank_drift(drift, neurons, contributions=means, seed=run.plan.seed)
    counts = {
        name: {stage: Manifest.load(job.place(name, stage)).summary for stage in PARTS[: 5 if name in there else 4]}
        for name in job.questions
    }
    found = Origin(
        base, tuned, transfer, ranks, summarize(drift), drift.dtypes, counts, identify_detector(detector)
    )  # fmt: skip
    _save(found, folder)
    return found


def load_origin(folder: Path) -> Origin | None:
    """The result in RUN/origin; None where there is none. Raises `ArtifactError` for a damaged one."""
    if not (folder / RESULT).is_file():
        return None
    try:
        return read_result(folder, RESULT, lambda data: Origin.from_row(load_json(data)), stage=ORIGIN, verb="origin")
    except InputError as error:  # a result without manifest: a run was killed in between
        raise ArtifactError(f"{folder / RESULT} is damaged ({error}): run 'origin' again") from error


def identify_detector(detector: "Detector") -> str:
    """16 hex digits of what a detector was fitted on and how."""
    return fingerprint([detector.settings, detector.data, detector.columns.tolist()])


def _save(found: Origin, folder: Path) -> None:
    settings = {"base": found.base, "tuned": found.tuned, "detector": found.detector}
    stage = FileStage(folder, stage=ORIGIN, settings=settings, replace=True)
    stage.finish({RESULT: dump_json(found) + b"\n"})


def _check_tuned(detector: "Detector", tuned: str) -> None:
    from hneurons.models.stored_weights import open_stored

    stored = open_stored(tuned)
    own = detector.identity
    found = replace(own, layers=len(stored.layers), neurons=stored.neurons, weights=stored.weights_digest())
    if differences := own.differences(found):
        raise InputError(
            f"'{tuned}' is not the model of this run, {own.name} ({'; '.join(differences)}): give the "
            "checkpoint the run was made with, or run again"
        )


def _load_tokenizers(job: BaseRun, tuned: str) -> tuple[Any, Any]:
    """(tuned, base): equal vocabularies do not make them split a text alike, so both are tried."""
    from hneurons.models.checkpoints import load_tokenizer

    return load_tokenizer(tuned), job.model.tokenizer
