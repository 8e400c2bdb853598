"""Edited GGUF files: blocks scaled in place, the hook's logits, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hneurons.core.errors import InputError, StorageError, UnsupportedModelError
from hneurons.core.files import file_hash
from hneurons.interventions.export import export_neurons
from hneurons.interventions.export.gguf_edit import SCALES, scale_row
from hneurons.models.checkpoints import PACKAGED
from hneurons.models.gguf_conversion import open_gguf
from hneurons.models.language_model import load_model
from support.tiny_exports import (
    PLACES,
    choose_neurons,
    demand_smollm2,
    hooked_logits,
    load,
    logits,
    save_model,
    write_tiny_gguf,
)

gguf = pytest.importorskip("gguf")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HNEURONS_CACHE", str(tmp_path / "cache"))


def random_row(kind: str, blocks: int = 3) -> bytearray:
    """Random bytes, with scales that halve and triple without leaving float16's normal range."""
    rng = np.random.default_rng(sum(map(ord, kind)))
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][1]
    raw = rng.integers(0, 256, (blocks, size), dtype=np.uint8)
    for place in SCALES.get(kind, ()):
        raw[:, place : place + 2] = rng.uniform(0.01, 1, (blocks, 1)).astype(np.float16).view(np.uint8)
    if kind in ("F32", "BF16"):
        raw = rng.normal(size=(blocks, 1)).astype(np.float32).view(np.uint8)[:, -size:].copy()
    return bytearray(raw.tobytes())


def values(raw: bytearray, kind: str) -> np.ndarray:
    data = np.frombuffer(bytes(raw), dtype={"F32": np.float32, "F16": np.float16}.get(kind, np.uint8))
    return np.asarray(gguf.dequantize(data, gguf.GGMLQuantizationType[kind]), dtype=np.float64)


@pytest.mark.parametrize("kind", [*SCALES, "F32", "BF16"])
def test_every_block_type_scales_exactly_by_powers_of_two_and_nearly_by_others(kind: str) -> None:
    row = random_row(kind)
    before = values(row, kind)
    assert np.abs(before).max() > 0
    for alpha in (0.0, 0.5, 1.0, 2.0, -4.0):
        scaled = bytearray(row)
        assert scale_row(scaled, kind, alpha) == 0
        np.testing.assert_array_equal(values(scaled, kind), alpha * before)
    scaled = bytearray(row)
    error = scale_row(scaled, kind, 0.3)
    assert error < (0.005 if kind == "BF16" else 0.0005)
    np.testing.assert_allclose(values(scaled, kind), 0.3 * before, atol=0.01 * np.abs(before).max())


def test_a_block_type_without_such_a_scale_and_an_overflow_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"stored as MXFP4.*quantise it as one of F16, Q4_0"):
        scale_row(bytearray(17), "MXFP4", 0.5)
    with pytest.raises(InputError, match="a block scale of the GGUF file overflows: lower alpha"):
        scale_row(random_row("Q4_0"), "Q4_0", 1e7)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["F32", "Q8_0", "Q4_1"])
def test_an_edited_file_gives_the_logits_of_the_hook(tmp_path: Path, kind: str) -> None:
    source = write_tiny_gguf(tmp_path / "tiny.gguf", kind)
    model = load(source)
    neurons = choose_neurons(model)
    plain = logits(model.model)
    for alpha, tolerance in ((0.0, 1e-5), (0.5, 1e-5), (3.0, 5e-3)):
        out = tmp_path / f"at-{alpha}.gguf"
        done = export_neurons(neurons, alpha, model=str(source), out=out, format="gguf")
        assert done.details["block_types"] == kind
        wanted = hooked_logits(model, neurons, alpha)
        torch.testing.assert_close(logits(load(out).model), wanted, rtol=tolerance, atol=tolerance)
        assert (wanted - plain).abs().max() > 1e-3


def test_only_the_chosen_rows_change_and_a_note_lies_beside(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "tiny.gguf")
    neurons = choose_neurons(load(source))
    out = export_neurons(neurons, 0.7, model=str(source), out=tmp_path / "out.gguf", format="gguf").path
    before, after = (gguf.GGUFReader(path) for path in (source, out))
    for old, new in zip(before.tensors, after.tensors, strict=True):
        changed = set(np.nonzero(np.asarray(old.data != new.data).reshape(old.data.shape))[0].tolist())
        wanted = {"blk.0.ffn_up.weight": {3, 40}, "blk.2.ffn_up.weight": {4, 7, 47}}
        assert changed == wanted.get(old.name, set())
    note = json.loads((tmp_path / "out.gguf.json").read_text())
    assert (note["alpha"], note["gguf"], note["gguf_hash"]) == (0.7, "tiny.gguf", file_hash(source))
    out.unlink()
    with pytest.raises(InputError, match=r"out\.gguf\.json exists already"):  # a note may be somebody's own file
        export_neurons(neurons, 0.7, model=str(source), out=out, format="gguf")
    with pytest.raises(InputError, match="which --format lora does not read: leave it out"):
        export_neurons(neurons, 0.7, model=str(source), out=tmp_path / "lora", format="lora", gguf=source)


def test_a_quantised_copy_of_the_neurons_model_can_be_named(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    model = load(folder)
    source = write_tiny_gguf(tmp_path / "tiny.gguf", "Q8_0")
    neurons = choose_neurons(model)
    out = tmp_path / "out.gguf"
    with pytest.raises(InputError, match=r"is no GGUF file: name the one you serve with --gguf"):
        export_neurons(neurons, 0, model=str(folder), out=out, format="gguf")
    export_neurons(neurons, 0, model=str(folder), out=out, format="gguf", gguf=source)
    torch.testing.assert_close(logits(load(out).model), hooked_logits(model, neurons, 0), rtol=0.1, atol=0.1)


def test_other_models_ungated_damaged_and_missing_files_are_one_sentence(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    neurons = choose_neurons(load(folder))
    out = tmp_path / "out.gguf"

    def export(source: Path, place: Path = out) -> None:
        export_neurons(neurons, 0, model=str(folder), out=place, format="gguf", gguf=source)

    other = write_tiny_gguf(tmp_path / "other.gguf", seed=1)
    with pytest.raises(InputError, match=r"other\.gguf is no copy of .*: the down-projection of layer 0 is another"):
        export(other)
    ungated = write_tiny_gguf(tmp_path / "ungated.gguf", gate=False)
    with pytest.raises(UnsupportedModelError, match=r"has no blk\.0\.ffn_gate\.weight: only a plain FFN"):
        export(ungated)
    with pytest.raises(InputError, match="there is no file"):
        export(tmp_path / "none.gguf")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\x03\x00\x00\x00" + b"\x07" * 40)
    with pytest.raises(InputError, match="could not be read as GGUF"):
        export(tmp_path / "broken.gguf")
    with pytest.raises(StorageError, match="could not write"):
        export(write_tiny_gguf(tmp_path / "tiny.gguf"), Path("/proc/out.gguf"))
    assert not out.exists()
    shaped = tmp_path / "qwen"
    save_model(shaped, "qwen2")
    with pytest.raises(InputError, match="belong to"):
        export_neurons(neurons, 0, model=str(shaped), out=out, format="gguf", gguf=other)


@pytest.mark.real_model
@pytest.mark.slow
def test_smollm2_edited_gives_the_logits_of_the_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows that changed are read back into the model; the rest of the file is its source, byte for byte."""
    demand_smollm2(monkeypatch)
    model = load_model("smollm2-135m", device="cpu")
    neurons = choose_neurons(model)
    out = export_neurons(neurons, 2.0, model="smollm2-135m", out=tmp_path / "out.gguf", format="gguf").path
    wanted, plain = hooked_logits(model, neurons, 2.0), logits(model.model)
    old, new = (np.memmap(path, mode="r") for path in (PACKAGED["smollm2-135m"].gguf(), out))
    changed = np.flatnonzero(old != new)
    inside = 0
    for tensor in open_gguf(out).tensors:
        if tensor.name in [f"blk.{layer}.ffn_up.weight" for layer in PLACES]:
            layer = int(tensor.name.split(".")[1])
            values = gguf.dequantize(np.asarray(tensor.data), tensor.tensor_type)
            model.model.model.layers[layer].mlp.up_proj.weight.data.copy_(torch.from_numpy(values))
            place = tensor.data_offset
            inside += int(((changed >= place) & (changed < place + tensor.n_bytes)).sum())
    assert len(changed) == inside > 100
    edited = logits(model.model)
    torch.testing.assert_close(edited, wanted, rtol=1e-4, atol=1e-4)
    assert (edited - plain).abs().max() > 1e-2
