"""What scaling does to behaviour: benchmarks by name, the runner, and results. A file that registers one is enough."""

from hneurons.benchmarks.benchmark import BENCHMARKS, Benchmark, Item
from hneurons.benchmarks.loading import load_items
from hneurons.core.registry import import_modules

__all__ = ["BENCHMARKS", "Benchmark", "Item", "load_items"]

import_modules(__name__, __path__)
