"""What scaling does to behaviour: benchmarks by name, the runner, and results."""

from hneurons.benchmarks import faitheval, falseqa, jailbreak, perplexity, questions, sycophancy  # noqa: F401  (each files itself)
from hneurons.benchmarks.benchmark import BENCHMARKS, Benchmark, Item
from hneurons.benchmarks.loading import load_items

__all__ = ["BENCHMARKS", "Benchmark", "Item", "load_items"]
