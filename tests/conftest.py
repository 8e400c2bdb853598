"""Shared fixtures: one thread for tiny models, no network, no progress bars left on."""

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HNEURONS_DTYPE"] = "float32"  # the same numbers on every processor


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    yield
    from hneurons.core.progress import enable_progress

    enable_progress(False)
