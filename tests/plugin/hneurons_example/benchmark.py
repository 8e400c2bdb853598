"""A benchmark: sums of two numbers."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hneurons.benchmarks.benchmark import Benchmark, Item
from hneurons.records.record import Record


class Sums(Benchmark):
    """Adds two numbers below twenty."""

    outcome = "right sum"
    shows_ability = True
    rule = "exact number"
    max_new_tokens = 8

    def read(self, files: Sequence[Path]) -> Iterator[Item]:
        for a in range(20):
            for b in range(20):
                yield Item(f"sums:{a}+{b}", (f"What is {a} + {b}? Answer with the number.",), key=str(a + b))

    def grade(self, item: Item, record: Record, replies: Sequence[str]) -> Record:
        numbers = re.findall(r"\d+", replies[-1])
        return replace(record, outcome=float(numbers[:1] == [item.key]), choice=numbers[0] if numbers else "")
