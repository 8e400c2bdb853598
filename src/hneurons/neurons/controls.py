"""Random neurons to compare with: as many as selected, none of them selected, alike in layer or in contribution."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hneurons.core.errors import InputError
from hneurons.core.seeds import derive_seed
from hneurons.models.language_model import LanguageModel
from hneurons.neurons.capture import ContributionMeter
from hneurons.neurons.capture import Sequence as TokenSequence
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.neurons.signals import CETT

ControlKind = Literal["unconstrained", "layer_matched", "contribution_matched"]
CONTROL_KINDS: tuple[ControlKind, ...] = ("unconstrained", "layer_matched", "contribution_matched")
_NEIGHBOURS = 50
_BATCH = 8


def draw_control(
    selected: NeuronSet,
    kind: ControlKind,
    *,
    seed: int = 0,
    contributions: NDArray[Any] | None = None,
) -> NeuronSet:
    """As many random neurons as `selected`, without those selected; equal arguments draw equal sets.

    - `unconstrained`: from the whole model.
    - `layer_matched`: as many in each layer as selected there.
    - `contribution_matched`: for each selected neuron one of the 50 whose mean contribution is closest in rank to its
      own. `contributions` [layers, neurons] holds the means, as `mean_contributions` gives them.

    Weights are NaN.

    Raises `InputError` for an unknown kind, a model or layer with too few others, or missing contributions.
    """
    identity, rng = selected.identity, np.random.default_rng(derive_seed("control", kind, seed))
    free = np.ones((identity.layers, identity.neurons), dtype=bool)
    free[selected.layers, selected.neurons] = False
    if kind == "unconstrained":
        chosen = _draw(rng, np.flatnonzero(free), len(selected))
    elif kind == "layer_matched":
        counts = np.bincount(selected.layers, minlength=identity.layers)
        starts = np.arange(identity.layers) * identity.neurons
        parts = [s + _draw(rng, np.flatnonzero(free[i]), counts[i]) for i, s in enumerate(starts) if counts[i]]
        chosen = np.concatenate(parts or [np.zeros(0, np.int64)])
    elif kind == "contribution_matched":
        chosen = _draw_alike(rng, selected, free, contributions)
    else:
        raise InputError(f"unknown kind of control '{kind}': known are {', '.join(CONTROL_KINDS)}")
    data = {"control": kind, "seed": seed, "of": selected.data}
    chosen = np.sort(chosen)
    return NeuronSet.from_columns(identity, chosen, np.full(len(chosen), np.nan), data=data)


def _draw(rng: np.random.Generator, pool: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    if count > len(pool):
        raise InputError(f"a control needs {count} neurons that are not selected, only {len(pool)} are left there")
    return rng.choice(pool, size=count, replace=False)


def _draw_alike(
    rng: np.random.Generator, selected: NeuronSet, free: NDArray[np.bool_], contributions: NDArray[Any] | None
) -> NDArray[np.int64]:
    if contributions is None or contributions.shape != free.shape:
        found = "none" if contributions is None else str(list(contributions.shape))
        raise InputError(f"a contribution-matched control needs mean contributions {list(free.shape)}, found {found}")
    values = np.asarray(contributions, dtype=np.float64).ravel()
    pool = np.flatnonzero(free)
    pool = pool[np.argsort(values[pool], kind="stable")]
    if len(selected) > len(pool):
        raise InputError(f"a control needs {len(selected)} neurons that are not selected, only {len(pool)} are left")
    # The largest first: they have the fewest neurons like them.
    chosen = []
    for column in selected.columns[np.argsort(-values[selected.columns], kind="stable")]:
        place = int(np.searchsorted(values[pool], values[column]))
        low = int(np.clip(place - _NEIGHBOURS // 2, 0, max(0, len(pool) - _NEIGHBOURS)))
        pick = low + int(rng.integers(min(_NEIGHBOURS, len(pool) - low)))
        chosen.append(pool[pick])
        pool = np.delete(pool, pick)
    return np.array(chosen, dtype=np.int64)


def mean_contributions(
    model: LanguageModel, sequences: Sequence[list[int]], *, signal: str = CETT
) -> NDArray[np.float64]:
    """Mean signal of every neuron over all tokens of some token sequences, float64 [layers, columns]."""
    if not sequences:
        raise InputError("mean contributions need at least one sequence of tokens")
    meter = ContributionMeter(model, [], regions=1, signal=signal)
    total, tokens = np.zeros((model.shape[0], meter.signal.width(model))), 0
    ordered = sorted((ids for ids in sequences if ids), key=len)
    for first in range(0, len(ordered), _BATCH):
        batch = ordered[first : first + _BATCH]
        found = meter.measure([TokenSequence(ids, (list(range(len(ids))),)) for ids in batch])
        counts = np.array([len(ids) for ids in batch])
        total += (found[:, 0].double().cpu().numpy() * counts[:, None, None]).sum(axis=0)
        tokens += int(counts.sum())
    return total / tokens
