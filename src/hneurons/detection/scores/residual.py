"""The residual stream as scores read it: which layer and token, chosen on held-out training folds."""

import weakref
from collections.abc import Hashable
from typing import NamedTuple

import numpy as np

from hneurons.detection.answer_rows import AnswerRows, Decided, Floats, even_odds
from hneurons.detection.ridge import Products, Ridge, fit_ridge, products_of_arrays
from hneurons.neurons.states import Place, States

MOST_LAYERS = 15
"""Layers tried, evenly spread; trying every layer of a deep model costs more than it finds."""


class Chosen(NamedTuple):
    """Where the ridge probe does best on held-out training folds, and its fit there."""

    place: Place
    layer: int
    ridge: Ridge


def lacks_states(rows: AnswerRows) -> str:
    """In words, that the residual stream was not read; empty where it was."""
    return "" if rows.states is not None else "no residual states are stored"


def read_states(rows: AnswerRows, place: Place, layer: int) -> Floats:
    """The residual stream of the rows, float64 [rows, hidden]."""
    assert rows.states is not None
    return rows.states.read(place, layer, rows.state_rows).astype(np.float64)


def probe_products(train: AnswerRows, test: AnswerRows, places: tuple[Place, ...]) -> tuple[Products, Ridge]:
    """The products of the chosen states, and the probe that was chosen with them."""
    place, layer, ridge = choose_state(train, places)
    return products_of_arrays(read_states(train, place, layer), [read_states(test, place, layer)]), ridge


def decide_probe(train: AnswerRows, test: AnswerRows, places: tuple[Place, ...]) -> Decided:
    """Ridge on the residual stream, its place and layer chosen on training folds, as is its threshold."""
    products, ridge = probe_products(train, test, places)
    return Decided(ridge.decide(products.tests[0]), even_odds(ridge.held_out, train.labels.astype(np.int64)))


_KNOWN: "weakref.WeakKeyDictionary[States, dict[tuple[Hashable, ...], Chosen]]" = weakref.WeakKeyDictionary()


def choose_state(train: AnswerRows, places: tuple[Place, ...]) -> Chosen:
    """The place and layer whose ridge probe has the highest AUROC on held-out folds of the training answers."""
    return max((_choose_layer(train, place) for place in places), key=lambda chosen: chosen.ridge.area)


def _choose_layer(train: AnswerRows, place: Place) -> Chosen:
    """The best layer at a place; remembered for these answers, since several scores ask for it."""
    assert train.states is not None
    known = _KNOWN.setdefault(train.states, {})
    key = (place, tuple(train.state_rows), train.labels.tobytes(), tuple(train.groups))
    if key not in known:
        last = train.states.layers - 1
        layers = np.unique(np.linspace(1, last, min(MOST_LAYERS, last)).round().astype(int)).tolist()
        found = []
        for layer in layers:
            products = products_of_arrays(read_states(train, place, layer), [])
            ridge = fit_ridge(products.train, train.labels, train.groups, factor=products.factor)
            found.append(Chosen(place, layer, ridge))
        known[key] = max(found, key=lambda chosen: chosen.ridge.area)
    return known[key]
