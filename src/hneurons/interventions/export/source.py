"""What every export reads: the neurons, layer by layer, of a checkpoint on disk."""

import numpy as np
import torch
from torch import Tensor

from hneurons.core.errors import InputError
from hneurons.models.stored_weights import Projection, StoredModel
from hneurons.neurons.neuron_set import NeuronSet


def check_neurons(neurons: NeuronSet, stored: StoredModel) -> None:
    """Raise `InputError` for an empty or ambiguous set and for neurons of another model, naming what differs."""
    if not len(neurons):
        raise InputError("the neuron set is empty, so there is nothing to scale: choose a set with neurons")
    if len(np.unique(neurons.columns)) < len(neurons):
        raise InputError("the neuron set names a neuron twice: its alpha would be ambiguous")
    neurons.check_identity(stored.identity())


def neurons_by_layer(neurons: NeuronSet) -> dict[int, list[int]]:
    """Layer -> its neurons, both ascending; layers without neurons are left out."""
    found: dict[int, list[int]] = {}
    for layer, neuron in sorted(zip(neurons.layers.tolist(), neurons.neurons.tolist(), strict=True)):
        found.setdefault(layer, []).append(neuron)
    return found


def read_neurons(projection: Projection, neurons: list[int]) -> Tensor:
    """The weight vectors of some neurons, float64 [weights a neuron, neurons], read in bounded memory."""
    tensor, rows = projection.tensor, projection.rows
    if projection.by == "column":
        return torch.cat([block[:, neurons].clone() for block in tensor.blocks(rows)])
    picked = [next(tensor.blocks(range(rows.start + j, rows.start + j + 1))) for j in neurons]
    return torch.cat(picked).t()
