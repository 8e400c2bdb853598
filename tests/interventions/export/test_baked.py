"""Checkpoints with alpha baked in: the hook's logits, only the scaled bytes changed, bounded memory."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hneurons.core.errors import InputError, StorageError
from hneurons.interventions.export import baked, export_neurons
from support.places import ROOT
from support.tiny_exports import choose_neurons, hooked_logits, load, logits, save_model

FAMILIES = ["llama", "phi3", "gpt2", "gpt_neox", "opt", "gemma2", "mistral3_multimodal"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_baked_checkpoint_gives_the_logits_of_the_hook(tmp_path: Path, family: str) -> None:
    folder = save_model(tmp_path / "model", family)
    model = load(folder)
    neurons = choose_neurons(model)
    for alpha in (0.0, 0.5, 3.0):
        out = tmp_path / f"baked-{alpha}"
        export_neurons(neurons, alpha, model=str(folder), out=out, format="weights")
        wanted = hooked_logits(model, neurons, alpha)
        torch.testing.assert_close(logits(load(out).model), wanted, rtol=1e-4, atol=1e-4)


def test_only_the_scaled_weights_differ_and_alpha_1_changes_no_byte(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", dtype=torch.bfloat16)
    model = load(folder)
    neurons = choose_neurons(model)
    same = export_neurons(neurons, 1, model=str(folder), out=tmp_path / "same", format="weights").path
    assert (same / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    half = export_neurons(neurons, 0.3, model=str(folder), out=tmp_path / "some", format="weights").path
    before, after = model.model.state_dict(), load(half).model.state_dict()
    for name, tensor in before.items():
        changed = (tensor != after[name]).nonzero()
        layer = int(name.split(".")[2]) if "down_proj" in name else -1
        assert set(changed[:, -1].tolist()) == {0: {3, 40}, 2: {4, 7, 47}}.get(layer, set()), name
    column = before["model.layers.0.mlp.down_proj.weight"][:, 3]
    assert torch.equal(after["model.layers.0.mlp.down_proj.weight"][:, 3], (column * 0.3).bfloat16().float())
    assert load(half).tokenizer.get_vocab() == model.tokenizer.get_vocab()


def test_a_checkpoint_in_shards_stays_in_shards(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "whole")
    model = load(folder)
    model.model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    model.tokenizer.save_pretrained(tmp_path / "shards")
    neurons = choose_neurons(model)
    out = export_neurons(neurons, 2, model=str(tmp_path / "shards"), out=tmp_path / "out", format="weights").path
    assert len(list(out.glob("*.safetensors"))) == len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    torch.testing.assert_close(logits(load(out).model), hooked_logits(model, neurons, 2), rtol=1e-4, atol=1e-4)


def test_a_weight_that_overflows_its_type_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", dtype=torch.float16)
    neurons = choose_neurons(load(folder))
    with pytest.raises(InputError, match="overflows float16"):
        export_neurons(neurons, 1e7, model=str(folder), out=tmp_path / "out", format="weights")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_model(tmp_path / "model")
    neurons = choose_neurons(load(folder))

    def refuse(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(baked, "copy_file", refuse)
    with pytest.raises(StorageError, match="the disk is full"):
        export_neurons(neurons, 0, model=str(folder), out=tmp_path / "out", format="weights")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_checkpoint(tmp_path: Path) -> None:
    """Peak memory of an export above that of the imports, in a process of its own; 140 MiB of weights."""
    script = ROOT / "bench" / "export_memory.py"
    runpy.run_path(str(script))["make_checkpoint"](tmp_path / "model", 0.13)
    done = subprocess.run(
        [sys.executable, str(script), "--measure", str(tmp_path / "model")],
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    grown = float(done.stdout.split("export alone ")[1].split(" MiB")[0])
    assert grown < 100
