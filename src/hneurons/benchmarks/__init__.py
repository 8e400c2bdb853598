"""What scaling does to behaviour: benchmarks by name, the runner, and results."""

from hneurons.benchmarks import (  # noqa: F401  (each files itself)
    faitheval,
    falseqa,
    jailbreak,
    jailbreak_graded,
    perplexity,
    questions,
    sycophancy,
)
from hneurons.benchmarks.benchmark import BENCHMARKS, Benchmark, Item
from hneurons.benchmarks.loading import load_items

__all__ = ["BENCHMARKS", "Benchmark", "Item", "load_items"]
