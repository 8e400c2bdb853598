"""Random neurons to compare with. Every random set of neurons in the project is drawn here.

Equal arguments draw equal sets, whatever else is drawn before or beside them. Each set has its own seed, made from the
name of the comparison, the seed and the number of the draw.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hneurons.core.errors import InputError
from hneurons.core.seeds import derive_seed
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.neurons.signals import CETT

if TYPE_CHECKING:
    from hneurons.models.language_model import LanguageModel

ControlKind = Literal["unconstrained", "layer_matched", "contribution_matched"]
Indices = NDArray[np.int64]
CONTROL_KINDS: tuple[ControlKind, ...] = ("unconstrained", "layer_matched", "contribution_matched")
_NEIGHBOURS = 50
_BATCH = 8


def control_rng(comparison: str, *parts: str | int) -> np.random.Generator:
    """The source of the draws of one set."""
    return np.random.default_rng(derive_seed(comparison, *parts))


def draw_sets(
    comparison: str,
    like: Indices,
    shape: tuple[int, int],
    *,
    without: Indices,
    draws: int,
    seed: int,
    same_layers: bool = False,
) -> list[Indices]:
    """`draws` random sets of as many columns as `like`, none of them in `without`, in the order drawn.

    like: int64 [k], layer * neurons_per_layer + neuron; shape: (layers, neurons per layer). `same_layers` takes as many
    of each layer as `like` has there, the layers in the order of `like`. Where fewer are left, all of these are taken.
    `comparison` names what the sets are for and is part of the seed. There are no sets for an empty `like`.
    """
    if not len(like):
        return []
    others = np.setdiff1d(np.arange(shape[0] * shape[1]), without)
    layers, counts = dict.fromkeys((like // shape[1]).tolist()), np.bincount(like // shape[1], minlength=shape[0])
    pools = (
        [(others[others // shape[1] == i], int(counts[i])) for i in layers] if same_layers else [(others, len(like))]
    )
    found = []
    for draw in range(draws):
        rng = control_rng(comparison, seed, draw)
        found.append(np.concatenate([rng.choice(p, min(count, len(p)), replace=False) for p, count in pools]))
    return found


def draw_subsets(rng: np.random.Generator, n: int, k: int, draws: int) -> Indices:
    """`draws` subsets of `k` of `n` without replacement, each equally likely, int64 [draws, k]."""
    if k * k > n:
        return np.argpartition(rng.random((draws, n)), k - 1, axis=1)[:, :k]
    drawn = rng.integers(n, size=(draws, k))
    while True:  # few draws hold a number twice, and those are drawn again
        ordered = np.sort(drawn, axis=1)
        again = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
        if not len(again):
            return drawn
        drawn[again] = rng.integers(n, size=(len(again), k))


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
    identity, rng = selected.identity, control_rng("control", kind, seed)
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


def _draw(rng: np.random.Generator, pool: Indices, count: int) -> Indices:
    if count > len(pool):
        raise InputError(f"a control needs {count} neurons that are not selected, only {len(pool)} are left there")
    return rng.choice(pool, size=count, replace=False)


def _draw_alike(
    rng: np.random.Generator, selected: NeuronSet, free: NDArray[np.bool_], contributions: NDArray[Any] | None
) -> Indices:
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
    model: "LanguageModel", sequences: Sequence[list[int]], *, signal: str = CETT
) -> NDArray[np.float64]:
    """Mean signal of every neuron over all tokens of some token sequences, float64 [layers, columns]."""
    from hneurons.neurons.capture import ContributionMeter
    from hneurons.neurons.capture import Sequence as TokenSequence

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
