"""A detector as a folder for other people: what it reads, how well it did where, and where it failed.

hneurons.json             everything a reader needs, in one file: model, neurons, thresholds, data, domains
README.md                 the model card, written from the same values
detector.* neurons.*      the detector and its neuron set as `Detector.save` writes them
calibration.json          where the detector was calibrated: what `calibrate` wrote
guarantee.json            where it has one: what `abstain` wrote
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hneurons.core.artifacts import package_versions
from hneurons.core.errors import ArtifactError, EndpointError, InputError, MissingExtraError
from hneurons.core.files import data_hash, storage_errors, write_atomic, write_checked
from hneurons.core.rows import to_row
from hneurons.core.seeds import fingerprint
from hneurons.core.showing import one_line
from hneurons.core.stats import Estimate
from hneurons.core.wording import count, interval, number
from hneurons.detection.detector import DETECTOR_JSON, DETECTOR_TENSORS, Detector
from hneurons.detection.evaluation import DatasetResult, check_evaluated
from hneurons.neurons.neuron_set import NEURONS_JSON, NEURONS_TENSORS, NeuronSet
from hneurons.neurons.opening import (
    FITTED_ON,
    LEARNED,
    RELEASE_JSON,
    RELEASE_VERSION,
    damaged_release,
    fetch_folder,
    read_release,
)
from hneurons.releases.domains import domain_row

if TYPE_CHECKING:
    from jinja2 import Template

    from hneurons.models.language_model import LanguageModel

CARD, CARD_MARK = "README.md", b"library_name: hneurons"
"""The model card, and what stands in every one."""
_FILES = (DETECTOR_JSON, DETECTOR_TENSORS, NEURONS_JSON, NEURONS_TENSORS)
_MORE = ("schema_version", "versions")
_FIELDS = ("model", "neurons", "thresholds", "data", "plan", "tested_on", "failed_on", "domains", "files")


@dataclass(frozen=True)
class Release:
    """A published detector. `about` is the content of `hneurons.json`."""

    folder: Path
    detector: Detector
    about: dict[str, Any]

    def __repr__(self) -> str:
        found = f"{count(len(self.detector.columns), 'neuron')} of {self.detector.identity.name}"
        failed = self.about["failed_on"]
        domains = f"failed on {len(failed)} of {count(len(self.about['domains']), 'domain')}"
        return one_line(self, found, domains, str(self.folder))

    def _repr_html_(self) -> str:
        return self.neurons._repr_html_()

    @property
    def neurons(self) -> NeuronSet:
        return self.detector.neuron_set()

    @property
    def failed_on(self) -> list[str]:
        """Domains in which the detector did not beat chance and random neurons."""
        return list(self.about["failed_on"])


def save_release(
    folder: Path,
    detector: Detector,
    results: Mapping[str, DatasetResult],
    *,
    plan: Mapping[str, Any] | None = None,
    learned: Path | None = None,
) -> Release:
    """Write a detector, its test results and the model card to a folder; equal inputs give equal bytes.

    `plan` says on the card how the run was made. A domain has failed where the interval of the AUROC includes 0.5, or
    where the detector cannot be told from as many random neurons. Where one class is missing it was not testable.
    `learned` is the detector's own folder, from which a calibration is taken along. An earlier release is replaced.

    Raises, before anything is written:

    - `InputError` for a folder that holds anything else.
    - `ArtifactError` for a damaged detector or test result.
    - `MissingExtraError` without jinja2.

    Raises `StorageError` where writing fails.
    """
    _check_free(folder)
    check_evaluated(detector, results, "these test results")
    _card_template()
    about = _describe(detector, results, plan or {})
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files = detector.to_files()
    about["files"] = {name: data_hash(files[name]) for name in _FILES}
    card = render_card(about)
    for name, data in files.items():
        write_atomic(folder / name, data)
    for name in LEARNED:
        (folder / name).unlink(missing_ok=True)
        if learned is not None and (learned / name).is_file():
            write_atomic(folder / name, (learned / name).read_bytes())
    write_checked(folder / RELEASE_JSON, about)
    write_atomic(folder / CARD, card)
    return Release(folder, detector, about)


def _describe(detector: Detector, results: Mapping[str, DatasetResult], plan: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `hneurons.json`, `files` still empty. Raises `ArtifactError` for what nothing fitted has."""
    try:
        _check_numbers(detector)
        domains = [domain_row(result) for result in results.values()]
        about = {
            "schema_version": RELEASE_VERSION,
            "model": {**detector.identity.to_row(), "revision": find_revision(detector.identity.name)},
            "neurons": _neuron_rows(detector.neuron_set()),
            "thresholds": {
                "log_odds": detector.threshold,
                "probability": 0.5 * (1 + math.tanh(detector.threshold / 2)),
            },
            "data": {**detector.data, "fingerprint": fingerprint(detector.data)},
            "plan": dict(plan),
            "tested_on": [d["name"] for d in domains if d["outcome"] != "not testable"],
            "failed_on": [d["name"] for d in domains if d["outcome"] == "failed"],
            "domains": domains,
            "files": {},
            "versions": package_versions(),
        }
        described: dict[str, Any] = to_row(about)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ArtifactError(
            f"the detector or its test results are damaged ({error}): run 'fit' and 'evaluate' again"
        ) from error
    return described


def _check_numbers(detector: Detector) -> None:
    """Raise `ValueError` for arrays that hold no columns of a model, or weights that are not finite."""
    layers, neurons = detector.identity.layers, detector.identity.neurons
    if not all(isinstance(count, int) and count > 0 for count in (layers, neurons)):
        raise ValueError(f"a model of {layers} layers with {neurons} neurons each")
    arrays = (detector.columns, detector.coef, detector.scale, detector.selection_probability)
    if any(values.ndim != 1 for values in arrays) or detector.columns.dtype.kind != "i":
        raise ValueError("its columns are no list of whole numbers")
    if not all(np.isfinite(values).all() for values in (detector.coef, detector.scale, detector.intercept)):
        raise ValueError("its weights are no finite numbers")


def _check_free(folder: Path) -> None:
    """Raise `InputError` where a release would overwrite files that belong to none; hidden ones are in no way."""
    with storage_errors(folder):
        found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in found if not name.startswith(".")]
    if others and RELEASE_JSON not in others:
        raise InputError(
            f"{folder} holds {CARD if CARD in others else others[0]} and is no release (no {RELEASE_JSON}): give a new "
            "or empty folder, or an earlier release to replace"
        )


def load_release(source: str | Path, *, model: "LanguageModel | None" = None) -> Release:
    """Read a release from a folder or a hub id (owner/name, optionally @revision).

    Raises `InputError` where there is none or, with `model`, where it belongs to another model, naming what differs;
    `ArtifactError` where a file is damaged, missing or was changed after publishing.
    """
    folder = fetch_folder(source)
    if not (folder / RELEASE_JSON).is_file():
        raise InputError(f"{folder} is no release (no {RELEASE_JSON}): make one with 'publish'")
    about = read_release(folder, files=_FILES)
    try:
        lacking = [f"no {name}" for name in _FIELDS if name not in about]
        lacking += [f"an unknown field {name}" for name in about if name not in (*_FIELDS, *_MORE)]
        if lacking:
            raise ValueError(f"{RELEASE_JSON} has {lacking[0]}")
        detector = Detector.load(folder)
        _check_numbers(detector)
        if any(about["model"][name] != value for name, value in detector.identity.to_row().items()):
            raise ValueError(f"{RELEASE_JSON} and {DETECTOR_JSON} name different models")
        if about["neurons"] != to_row(_neuron_rows(detector.neuron_set())):
            raise ValueError(f"{RELEASE_JSON} and {DETECTOR_JSON} name different neurons")
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise damaged_release(folder, error) from error
    if model is not None:
        detector.neuron_set().check_model(model)
    return Release(folder, detector, about)


def push_release(folder: Path, repo: str, *, public: bool = False) -> str:
    """Upload a release to the hub repository owner/name, made private unless `public`; returns its address.

    The token is the hub client's own (HF_TOKEN or `hf auth login`). Raises what `load_release` raises for a folder that
    is no whole release, `EndpointError` where the hub refuses.
    """
    from huggingface_hub import HfApi

    load_release(folder)
    api = HfApi()
    try:
        api.create_repo(repo, private=not public, exist_ok=True)
        files = [RELEASE_JSON, CARD, *_FILES, FITTED_ON, *LEARNED]
        api.upload_folder(repo_id=repo, folder_path=folder, allow_patterns=files, commit_message="hneurons release")
    except Exception as error:  # the hub's client raises errors of several libraries
        raise EndpointError(f"could not push to {repo}: {_first_line(error)}; log in with 'hf auth login'") from error
    return f"{api.endpoint}/{repo}"


def find_revision(model: str) -> str | None:
    """The commit of a hub model in the local cache; None for a model from elsewhere."""
    if model.count("/") != 1 or Path(model).exists():
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, "config.json")
    return Path(found).parent.name if isinstance(found, str) else None


def render_card(about: Mapping[str, Any]) -> str:
    """The model card (Markdown with the hub's metadata in front) of a release's `hneurons.json`."""
    return str(_card_template().render(metadata=_metadata(about), shown=20, **about))


def _card_template() -> "Template":
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtraError("jinja2", "report", "writing a model card") from error
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["interval"] = lambda row, sign=False: interval(Estimate.from_row(row), sign=sign)
    # What is no finite number is null in JSON.
    environment.filters["number"] = lambda value, digits=3: number(math.nan if value is None else value, digits)
    return environment.get_template("model_card.txt")


def _metadata(about: Mapping[str, Any]) -> str:
    """The card's YAML: what the hub indexes."""
    from huggingface_hub import EvalResult, ModelCardData

    model = about["model"]["name"]
    tested = [d for d in about["domains"] if d["outcome"] != "not testable"]
    results = [
        EvalResult(
            task_type="text-classification",
            task_name="hallucination detection",
            dataset_type=domain["name"],
            dataset_name=domain["name"],
            metric_type="roc_auc",
            metric_value=round(domain["auroc"]["value"], 4),
            metric_args={"n": domain["auroc"]["n"], "interval_95": [domain["auroc"]["low"], domain["auroc"]["high"]]},
        )
        for domain in tested
    ]
    card = ModelCardData(
        base_model=model if model.count("/") == 1 and not Path(model).exists() else None,
        library_name="hneurons",
        tags=["hallucination-detection", "h-neurons", "interpretability"],
        model_name=f"H-neurons of {model}",
        eval_results=results or None,
    )
    return card.to_yaml().strip()


def _neuron_rows(neurons: NeuronSet) -> list[dict[str, Any]]:
    names = ("layer", "neuron", "weight", "selection_probability")
    columns = (neurons.layers, neurons.neurons, neurons.weights, neurons.selection_probability)
    return [dict(zip(names, row, strict=True)) for row in zip(*(c.tolist() for c in columns), strict=True)]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
