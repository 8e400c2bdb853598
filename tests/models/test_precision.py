"""Which number type a model is loaded in where nobody asked for one, and that it is recorded."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hneurons.core.errors import InputError
from hneurons.models.language_model import load_model
from hneurons.models.precision import VARIABLE, choose_dtype
from hneurons.runs.plan import RunPlan
from hneurons.runs.run import Run
from support.tiny_run import make_plan, save_tiny_model


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the processor is said to be able to do."""
    able: dict[str, Any] = {}
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    return able


@pytest.mark.parametrize("name", ["amx_bf16", "avx512_bf16"])
def test_bfloat16_is_chosen_where_the_processor_multiplies_it(processor: dict[str, Any], name: str) -> None:
    assert choose_dtype("auto", "cpu") == "float32"
    processor[name] = True
    assert choose_dtype("auto", "cpu") == "bfloat16"
    assert [choose_dtype(asked, "cpu") for asked in ("float32", "float16")] == ["float32", "float16"]
    processor[name] = False
    assert choose_dtype("auto", "cpu") == "float32"


def test_bfloat16_is_chosen_on_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch, processor: dict[str, Any]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for supported, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, s=supported: s)
        assert choose_dtype("auto") == choose_dtype("auto", "cuda:0") == expected
    processor["amx_bf16"] = True
    assert choose_dtype("auto", "cpu") == "bfloat16"


def test_the_environment_says_what_auto_means_and_an_unknown_type_is_refused(
    monkeypatch: pytest.MonkeyPatch, processor: dict[str, Any]
) -> None:
    processor["amx_bf16"] = True
    monkeypatch.setenv(VARIABLE, "float32")
    assert choose_dtype("auto", "cpu") == "float32" and choose_dtype("float16", "cpu") == "float16"
    monkeypatch.setenv(VARIABLE, "float8")
    with pytest.raises(InputError, match="unknown dtype 'float8': known are auto, float32"):
        choose_dtype("auto", "cpu")


@pytest.mark.slow
def test_a_run_records_the_type_that_was_chosen_and_keeps_it_on_other_hardware(
    tmp_path: Path, processor: dict[str, Any]
) -> None:
    processor["amx_bf16"] = True
    plan = make_plan(tmp_path)
    assert plan.dtype == "auto"
    run = Run(tmp_path / "run", plan, device="cpu")
    assert run.plan.dtype == RunPlan.load(tmp_path / "run").dtype == "bfloat16"
    assert run.model.model.dtype == torch.bfloat16
    run.sample()
    for manifest in (tmp_path / "run").glob("**/responses/manifest.json"):
        assert json.loads(manifest.read_text())["settings"]["dtype"] == "bfloat16"
    del run
    processor.clear()
    assert Run(tmp_path / "run", plan, device="cpu").plan.dtype == "bfloat16"
    assert Run(tmp_path / "other", plan, device="cpu").plan.dtype == "float32"


def test_a_loaded_model_has_the_type_that_is_fast(tmp_path: Path, processor: dict[str, Any]) -> None:
    folder = str(save_tiny_model(tmp_path / "model"))
    assert load_model(folder, device="cpu").model.dtype == torch.float32
    processor["avx512_bf16"] = True
    assert load_model(folder, device="cpu").model.dtype == torch.bfloat16
