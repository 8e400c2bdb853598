"""One way to name neurons in every verb: a run, a detector, a neuron set, a release or a hub id.

Folders are told apart by the files they hold, so that nothing here needs to know the code that wrote them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hneurons.core.artifacts import RUN_JSON
from hneurons.core.errors import ArtifactError, EndpointError, InputError
from hneurons.core.files import file_hash, read_checked

if TYPE_CHECKING:
    from hneurons.neurons.neuron_set import NeuronSet

RELEASE_JSON = "hneurons.json"
RELEASE_VERSION = 1
WANTED = "give the folder of a run, a detector, a neuron set or a release, or a hub id (owner/name)"
_DETECTOR = "detector"
_SET = ("neurons.json", "neurons.safetensors")
LEARNED = ("calibration.json", "guarantee.json")
"""Files that may lie beside a detector: what was learned on labelled answers. Each holds its own checksum."""
FITTED_ON = "fitted_on.json"
"""File that may lie beside a detector: marks of its questions. It holds its own checksum, too."""
_FETCHED = (RELEASE_JSON, "README.md", "detector.json", "detector.safetensors", FITTED_ON, *_SET, *LEARNED)


class NeuronSource(NamedTuple):
    """Where neurons lie: `folder` holds the files of the set; `run` is the run it belongs to, if it was named."""

    folder: Path
    run: Path | None


def open_neurons(source: str | Path) -> "NeuronSet":
    """The neurons of a run (its own detector's), a detector, a neuron set, a release or a hub id.

    Raises `InputError` where there are none, `ArtifactError` where they are damaged or are not what was published,
    `EndpointError` where the hub does not give them.
    """
    from hneurons.neurons.neuron_set import NeuronSet

    return NeuronSet.load(find_neurons(source).folder)


def find_neurons(source: str | Path) -> NeuronSource:
    """The folder with the neurons that `source` names. Files of a release are compared with their hashes.

    Raises what `open_neurons` raises, except for damage inside the set's own files.
    """
    folder = fetch_folder(source)
    run = folder if (folder / RUN_JSON).is_file() else None
    if not (folder / _SET[0]).is_file() and (folder / _DETECTOR / _SET[0]).is_file():
        return NeuronSource(folder / _DETECTOR, run)
    if (folder / RELEASE_JSON).exists():
        read_release(folder)
    elif not (folder / _SET[0]).is_file():
        if run is not None:
            raise InputError(f"the run in {folder} has no detector yet: run 'fit' first")
        raise InputError(f"{folder} holds no neuron set (no {_SET[0]}): {WANTED}")
    return NeuronSource(folder, run)


def fetch_folder(source: str | Path) -> Path:
    """The folder `source`, or a snapshot of a release on the hub (owner/name, optionally @revision) in its cache.

    Raises `InputError` for what is neither, `EndpointError` where the hub does not give it.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    repo, _, revision = str(source).partition("@")
    if folder.exists():
        raise InputError(f"{source} is a file: {WANTED}")
    if repo.count("/") != 1 or repo.startswith((".", "/", "~")) or repo.endswith("/"):
        raise InputError(f"there is no folder {source}: {WANTED}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=list(_FETCHED)))
    except Exception as error:  # the hub's client raises errors of several libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EndpointError(f"there is no folder {source}, and the hub does not give it: {reason}") from error


def read_release(folder: Path, *, files: Sequence[str] = _SET) -> dict[str, Any]:
    """The content of a release's `hneurons.json`, after every file it vouches for was compared with its hash.

    Raises `ArtifactError` where it is damaged, has no hash of one of `files`, or a file is not what was published.
    """
    try:
        about = read_checked(folder / RELEASE_JSON)
        if about["schema_version"] != RELEASE_VERSION:
            raise ValueError(f"schema version {about['schema_version']}, this hneurons reads {RELEASE_VERSION}")
        lacking = [name for name in files if name not in about["files"]]
        if lacking:
            raise ValueError(f"{RELEASE_JSON} has no content hash of {lacking[0]}")
        for name, content in about["files"].items():
            if not (folder / name).is_file() or file_hash(folder / name) != content:
                raise ValueError(f"{name} is missing or is not what was published")
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise damaged_release(folder, error) from error
    return about


def damaged_release(folder: Path, error: Exception) -> ArtifactError:
    """The one sentence about a release that is not whole."""
    return ArtifactError(f"the release in {folder} is damaged ({error}): fetch or publish it again")
