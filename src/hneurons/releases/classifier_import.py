"""Other people's logistic regressions on all neurons, as plain arrays: the library never unpickles."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hneurons.core.errors import InputError, SchemaError
from hneurons.core.files import file_hash
from hneurons.core.types import ModelIdentity
from hneurons.detection.detector import Detector


def read_classifier(path: Path, identity: ModelIdentity) -> Detector:
    """The detector with these coefficients on CETT in raw units, columns numbered layer * neurons_per_layer + neuron.

    `path`: .npz or .safetensors with `coef` ([layers * neurons] or [1, layers * neurons]) and `intercept` (one number),
    positive weights speaking for a made-up answer; the threshold is scikit-learn's, log odds 0. Selection
    probabilities are NaN. Raises `InputError` for another file, `SchemaError` where an array is missing, of another
    shape or not finite.
    """
    arrays = _read_arrays(path)
    missing = [name for name in ("coef", "intercept") if name not in arrays]
    if missing:
        raise SchemaError(
            f"{path} has no array '{missing[0]}', found {', '.join(arrays) or 'none'}: save coef, intercept"
        )
    wanted = identity.layers * identity.neurons
    coef, intercept = (np.asarray(arrays[name]).reshape(-1) for name in ("coef", "intercept"))
    if coef.size != wanted or intercept.size != 1:
        raise SchemaError(
            f"{path} has {coef.size} coefficients and {intercept.size} intercepts, {identity.name} needs {wanted} "
            f"({identity.layers} layers of {identity.neurons} neurons) and 1: give the model it was fitted on"
        )
    numbers = {coef.dtype.kind, intercept.dtype.kind} <= set("fiu")
    if not numbers or not np.isfinite(coef).all() or not np.isfinite(intercept).all():
        raise SchemaError(f"{path} holds coefficients that are no finite numbers: save them again")
    columns = np.flatnonzero(coef)
    return Detector(
        identity=identity,
        columns=columns.astype(np.int64),
        coef=coef[columns].astype(np.float64),
        scale=np.ones(len(columns)),
        selection_probability=np.full(len(columns), np.nan),
        intercept=float(intercept[0]),
        threshold=0.0,
        settings={"imported": path.name, "columns": "raw"},
        data={"classifier": file_hash(path)},
    )


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors.numpy import load_file

    if path.suffix not in (".npz", ".safetensors") or not path.is_file():
        found = "there is no such file" if not path.is_file() else "pickles are never opened here"
        raise InputError(
            f"{path}: {found}; give an .npz or .safetensors file with coef and intercept, made as docs/artifact.md says"
        )
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with np.load(path, allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}
    except Exception as error:  # a damaged file fails wherever its bytes happen to lead the reader
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} could not be read ({reason[:200]}): save it again") from error
