"""Items of a benchmark by `NAME` or `NAME:FILE`."""

from pathlib import Path

from hneurons.benchmarks.benchmark import BENCHMARKS, Benchmark, Item
from hneurons.core.errors import InputError, SchemaError
from hneurons.core.seeds import derive_seed


def load_items(spec: str, *, limit: int | None = None, seed: int = 0) -> tuple[Benchmark, list[Item]]:
    """The benchmark and its items; FILE may be several paths with commas between them.

    The order is a shuffle that depends on nothing but `seed` and each item's id, so `limit` takes a random subset and
    a smaller limit a part of it. Raises `InputError` for an unknown name, a file that is missing or no items,
    `SchemaError` naming the row and the field where a row is not of the benchmark's schema.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit should be at least 1, found {limit}")
    name, _, paths = spec.partition(":")
    benchmark = BENCHMARKS.get(name)()
    files = [Path(path.strip()).expanduser() for path in paths.split(",") if path.strip()]
    items: dict[str, Item] = {}
    for item in benchmark.read(files):
        if item.id in items:
            raise SchemaError(f"{spec}: the id '{item.id}' stands for two items")
        items[item.id] = item
    if not items:
        raise InputError(f"{spec} has no items for '{name}': check that the file is the right one")
    return benchmark, sorted(items.values(), key=lambda item: derive_seed("items", seed, item.id))[:limit]
