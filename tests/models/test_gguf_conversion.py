"""GGUF files: converted tensor by tensor to what transformers' own reader makes of the whole file."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from hneurons.core.errors import InputError
from hneurons.models import gguf_conversion
from hneurons.models.checkpoints import load_tokenizer, resolve_checkpoint
from hneurons.models.language_model import load_model
from support.tiny_gguf import write_tiny_gguf


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HNEURONS_CACHE", str(tmp_path / "cache"))
    write_tiny_gguf(tmp_path / "tiny.gguf")
    return tmp_path / "tiny.gguf"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("chunk", [1 << 22, 1000])
def test_every_tensor_is_that_of_transformers_reader_in_the_asked_precision(
    tiny: Path, dtype: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_conversion, "_CHUNK", chunk)  # small: dequantised some rows at a time
    expected = AutoModelForCausalLM.from_pretrained(str(tiny.parent), gguf_file=tiny.name, dtype=torch.float32)
    loaded = load_model(str(tiny), dtype=dtype, device="cpu")  # type: ignore[arg-type]
    found = loaded.model.state_dict()
    assert set(found) == set(expected.state_dict())
    for name, value in expected.state_dict().items():
        assert torch.equal(found[name], value.to(getattr(torch, dtype))), name
    assert loaded.model.config.rope_parameters == expected.config.rope_parameters
    assert loaded.shape == (2, 96)


def test_each_precision_is_kept_and_a_tokenizer_needs_no_other(tiny: Path) -> None:
    first = resolve_checkpoint(str(tiny), "bfloat16")
    assert load_tokenizer(str(tiny)).decode([5, 6]) == load_tokenizer(first).decode([5, 6])
    assert [folder.name for folder in Path(first).parent.iterdir()] == [Path(first).name]
    other = resolve_checkpoint(str(tiny))
    assert other != first and resolve_checkpoint(str(tiny), "float32") == other
    stamp = (Path(other) / "model.safetensors").stat().st_mtime_ns
    resolve_checkpoint(str(tiny), "float32")
    assert (Path(other) / "model.safetensors").stat().st_mtime_ns == stamp


def test_a_file_that_lacks_a_tensor_is_refused_by_its_name_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HNEURONS_CACHE", str(tmp_path / "cache"))
    write_tiny_gguf(tmp_path / "tiny.gguf", without="blk.1.ffn_up.weight")
    with pytest.raises(InputError, match=r"lacks 1 tensors .* model\.layers\.1\.mlp\.up_proj\.weight"):
        resolve_checkpoint(str(tmp_path / "tiny.gguf"))
    assert not list((tmp_path / "cache" / "models").iterdir())


@pytest.mark.slow
def test_converting_takes_little_more_memory_than_the_file(tmp_path: Path) -> None:
    """A few matrices of the float32 model at a time, never all of its 450 MB."""
    write_tiny_gguf(tmp_path / "small.gguf")  # its conversion imports what conversions need
    write_tiny_gguf(tmp_path / "large.gguf", hidden=1024, neurons=8192, layers=4)
    # The high-water mark of this very process: that of getrusage is handed down by the process that starts it.
    script = (
        "import re, sys, torch, transformers\n"
        "from hneurons.models.checkpoints import resolve_checkpoint\n"
        "def peak(): return int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "resolve_checkpoint(sys.argv[1], 'bfloat16')\n"
        "before = peak()\n"
        "print(resolve_checkpoint(sys.argv[2], 'bfloat16'))\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "small.gguf"), str(tmp_path / "large.gguf")],
        env={"HNEURONS_CACHE": str(tmp_path / "cache"), "PATH": "", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    folder, kilobytes = done.stdout.split()
    assert (Path(folder) / "model.safetensors").stat().st_size > 200e6
    assert int(kilobytes) * 1024 < (tmp_path / "large.gguf").stat().st_size + 250e6
