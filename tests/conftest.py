"""Shared fixtures: one thread for tiny models, no network, no progress bars left on."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers and the servers they start share the processors
gc.set_threshold(200_000, 50, 1000)  # big libraries are gone through again and again otherwise
os.environ["HNEURONS_DTYPE"] = "float32"  # the same numbers on every processor


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk() -> None:
    """Nothing here loses power: what a process was told is written outlives the process, on the disk or not."""
    os.fsync = lambda descriptor: None


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model, question files, and `whole`, a finished run that nothing disturbs: copy what you change."""
    from support.tiny_run import finish_run, make_plan

    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        finish_run(folder / "whole", make_plan(folder), patch)
    return folder


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    yield
    from hneurons.core.progress import enable_progress

    enable_progress(False)
