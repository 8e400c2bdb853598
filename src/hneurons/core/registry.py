"""Named things a user can ask for: question sets, judges, answer finders, benchmarks, audits."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from hneurons.core.errors import InputError

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps a name to an object; an unknown name raises `InputError` that lists the known ones."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files its argument under `name`."""

        def file_under_name(item: T) -> T:
            if name in self._items:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            self._items[name] = item
            return item

        return file_under_name

    def get(self, name: str) -> T:
        if name not in self._items:
            raise InputError(f"unknown {self.kind} '{name}': known are {', '.join(sorted(self._items))}")
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._items))

    def summaries(self) -> dict[str, str]:
        """Name -> first line of the docstring."""
        return {name: (self._items[name].__doc__ or "").strip().split("\n")[0] for name in self}
