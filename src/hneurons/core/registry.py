"""Named things a user can ask for: question sets, judges, finders, benchmarks, scores, signals and audits.

Other packages add their own through entry points. A package names the thing and the object in its `pyproject.toml`:

    [project.entry-points."hneurons.judges"]
    strict = "my_package.strict:StrictJudge"
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules
from typing import Generic, TypeVar

from hneurons.core.errors import HNeuronsError, InputError, PluginError
from hneurons.core.wording import did_you_mean

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Registry(Generic[T]):
    """Maps a name to an object of one kind: those that hneurons files itself, and those of plugins.

    The entry points of a kind form one group, such as `hneurons.judges` for "judge" and `hneurons.questions` for
    "question set". They are looked up when a name is not known or when all names are wanted, and each plugin is
    imported when it is used. A built-in name cannot be taken by a plugin.

    `base` says what a plugin must be. For a class, it is a subclass that sets all attributes which `base` only
    annotates. For a protocol, it is an object with all its members. Without `base`, it can be called.
    """

    def __init__(self, kind: str, *, base: type | None = None) -> None:
        self.kind, self.group = kind, f"hneurons.{kind.split()[0]}s"
        self._base = base
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
        """The object of that name.

        Raises `InputError` that lists the known names for an unknown one, and `PluginError` that names the package
        where a plugin cannot be used.
        """
        if name not in self._items:
            if name not in self._plugins:
                raise InputError(f"unknown {self.kind} '{name}'{did_you_mean(name, self.names())}")
            self._items[name] = self._load(name)
        return self._items[name]

    def names(self) -> list[str]:
        """All names in order, also those of plugins that turn out to be broken. Imports no plugin."""
        return sorted({*self._items, *self._plugins})

    def __iter__(self) -> Iterator[str]:
        """The names that can be used. A broken plugin is left out with a warning."""
        for name in self.names():
            try:
                self.get(name)
            except HNeuronsError as error:
                logger.warning("%s", error)
            else:
                yield name

    def summaries(self) -> dict[str, str]:
        """Name -> first line of the docstring, or what is wrong with a broken plugin."""
        lines = {}
        for name in self.names():
            try:
                lines[name] = (self.get(name).__doc__ or "").strip().split("\n")[0]
            except HNeuronsError as error:
                lines[name] = f"not available: {error}"
        return lines

    @cached_property
    def _plugins(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in sorted(entry_points(group=self.group), key=lambda p: (p.name, _package(p))):
            same = found.setdefault(point.name, [])
            if all((_package(point), point.value) != (_package(p), p.value) for p in same):
                same.append(point)
        for name in set(found) & set(self._items):
            packages = _listed(found.pop(name))
            logger.warning("the %s '%s' of %s is not used: hneurons has one of that name", self.kind, name, packages)
        return found

    def _load(self, name: str) -> T:
        points = self._plugins[name]
        if len(points) > 1:
            raise PluginError(f"the {self.kind} '{name}' comes from {_listed(points)}: uninstall all but one")
        where = f"the {self.kind} '{name}' of {_listed(points)}"
        try:
            item: T = points[0].load()
        except (Exception, SystemExit) as error:  # whatever foreign code raises while it is imported
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise PluginError(f"{where} cannot be loaded ({said}): repair or uninstall the package") from error
        problem = self._problem(item)
        if problem:
            raise PluginError(f"{where} cannot be used: {points[0].value} {problem}")
        return item

    def _problem(self, item: object) -> str | None:
        """What keeps an object from being one of this kind."""
        base = self._base
        if base is None:
            return None if callable(item) else "cannot be called"
        protocol = getattr(base, "_is_protocol", False)
        if not protocol and not (isinstance(item, type) and issubclass(item, base)):
            return f"is not a subclass of {base.__module__}.{base.__name__}"
        wanted = [*base.__annotations__, *(n for n in vars(base) if protocol and not n.startswith("_"))]
        missing = [name for name in wanted if not hasattr(item, name)]
        return f"does not have {', '.join(missing)}" if missing else None


def import_modules(package: str, path: Iterable[str]) -> None:
    """Import every module of a package, in order of their names, so that each files itself in its registry."""
    for module in sorted(found.name for found in iter_modules(path)):
        import_module(f"{package}.{module}")


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown"


def _listed(points: list[EntryPoint]) -> str:
    return " and ".join(f"package '{_package(point)}'" for point in points)
