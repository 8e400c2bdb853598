"""Matrices for the solver: heavy-tailed features with a few signals, and the format of contributions on disk."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from hneurons.core.artifacts import Manifest


def write_shards(folder: Path, features: np.ndarray, layers: int, *, rows_each: int = 256) -> None:
    """The contributions format: float16 shards with one tensor a layer, rows.jsonl and a manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    halves = features.astype(np.float16)
    for number, start in enumerate(range(0, len(halves), rows_each)):
        block = np.split(halves[start : start + rows_each], layers, axis=1)
        tensors = {f"layer.{layer:03d}": np.ascontiguousarray(part) for layer, part in enumerate(block)}
        save_file(tensors, folder / f"shard-{number:05d}.safetensors")
    rows = [{"id": f"q{i // 2}#{i}", "question_id": f"q{i // 2}", "region": "answer"} for i in range(len(halves))]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Manifest(stage="contributions", settings={}, expected=1, done=1, complete=True, content="abc").save(folder)


def make_data(rows=120, columns=400, *, seed=0, signals=4, strength=1.0):
    """Heavy-tailed non-negative features, correlated through a shared factor, and labels from a few of them."""
    rng = np.random.default_rng(seed)
    log = 0.8 * rng.standard_normal((rows, columns)) + 0.5 * rng.standard_normal((rows, 1))
    effect = strength * log[:, :signals].sum(axis=1)
    y = (rng.random(rows) < 1 / (1 + np.exp(-(effect - effect.mean())))).astype(int)
    y[:2] = [0, 1]
    return np.exp(log - 4).astype(np.float32), y
