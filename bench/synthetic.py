"""Synthetic contributions: non-negative, heavy-tailed, correlated within a layer, float16."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hneurons.core.artifacts import Manifest


def make_labels(rows: int, *, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng([seed, 0]).permutation(np.arange(rows) % 2)


def make_layers(
    labels: NDArray[np.int64], layers: int, neurons: int, *, seed: int = 0, signals: int = 60, factors: int = 8
) -> Iterator[NDArray[np.float16]]:
    """Each layer's features [rows, neurons], log-normal around a scale of their own.

    Neurons of a layer share `factors` random factors, the first of which leans weakly on the label (so that very many
    neurons do); `signals` neurons of the whole model lean on it by 0.3 to 0.8 of their own deviation.
    """
    sign = (2 * labels - 1).astype(np.float32)[:, None]
    places = np.random.default_rng([seed, 1]).choice(layers * neurons, size=signals, replace=False)
    for layer in range(layers):
        rng = np.random.default_rng([seed, 2, layer])
        shared = rng.standard_normal((len(labels), factors), dtype=np.float32)
        shared[:, :1] += 0.3 * sign
        log = rng.standard_normal((len(labels), neurons), dtype=np.float32)
        log *= 0.8
        log += shared @ (0.2 * rng.standard_normal((factors, neurons), dtype=np.float32))
        mine = np.sort(places[places // neurons == layer]) % neurons
        log[:, mine] += sign * rng.uniform(0.12, 0.32, len(mine)).astype(np.float32) * rng.choice([-1, 1], len(mine))
        log += rng.normal(-6, 1, neurons).astype(np.float32)
        yield np.exp(log, out=log).astype(np.float16)


def write_shards(folder: Path, labels: NDArray[np.int64], layers: int, neurons: int) -> None:
    """The layers as a contributions folder, layer by layer so that memory holds one of them."""
    starts = range(0, len(labels), 256)
    files = []
    for number, start in enumerate(starts):
        rows = min(256, len(labels) - start)
        size = 2 * rows * neurons
        header = json.dumps(
            {
                f"layer.{i:03d}": {"dtype": "F16", "shape": [rows, neurons], "data_offsets": [i * size, (i + 1) * size]}
                for i in range(layers)
            }
        ).encode()
        header += b" " * (-len(header) % 8)
        file = open(folder / f"shard-{number:05d}.safetensors", "wb")  # noqa: SIM115
        file.write(struct.pack("<Q", len(header)) + header)
        files.append(file)
    for block in make_layers(labels, layers, neurons):
        for file, start in zip(files, starts, strict=True):
            file.write(np.ascontiguousarray(block[start : start + 256]).data)
    for file in files:
        file.close()
    rows = [{"id": f"q{i}#0", "question_id": f"q{i}", "region": "answer"} for i in range(len(labels))]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Manifest(stage="contributions", settings={}, expected=1, done=1, complete=True, content="synthetic").save(folder)
