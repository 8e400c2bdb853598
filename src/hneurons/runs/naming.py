"""What a run's datasets are called: after the question set or, where that is a file of one's own, after the file."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hneurons.core.files import file_hash
from hneurons.core.foreign_rows import bare_name

TRAIN, HELD_OUT = "train", "held-out"
_OF_FILES = ("file", "recorded")
"""Question sets that say nothing of what is asked."""
_LONGEST = 60


def name_datasets(specs: Sequence[str], earlier: Iterable[tuple[str, str]] = ()) -> tuple[str, ...]:
    """A name for each of these question sets, all different and none "train".

    `earlier` are sets that have names already, which those of the same set or file keep, wherever the file lies now.
    """
    kept = [(_base(spec), name) for spec, name in earlier]
    found: list[str] = []
    for spec in specs:
        known = next((pair for pair in kept if pair[0] == _base(spec)), None)
        if known is not None:
            kept.remove(known)
        found.append("" if known is None else known[1])
    for place, spec in enumerate(specs):
        found[place] = found[place] or _number(_base(spec), {name.casefold() for name in (TRAIN, *found)})
    return tuple(found)


def known_by(spec: str, earlier: Iterable[str], hashes: Mapping[str, str]) -> str:
    """The one of `earlier` that reads the same files from other paths, or else `spec` itself.

    `hashes` are those of the files that were read then, by path.
    """
    kind, files = spec.partition(":")[0], [Path(path).expanduser() for path in _paths(spec)]
    if not files or spec in earlier or not all(path.is_file() for path in files):
        return spec
    content = [file_hash(path) for path in files]
    for other in earlier:
        if other.partition(":")[0] == kind and [hashes.get(path) for path in _paths(other)] == content:
            return other
    return spec


def name_as_before(specs: Sequence[str]) -> tuple[str, ...]:
    """The names that earlier versions gave: that of the set alone, numbered."""
    found: list[str] = []
    for spec in specs:
        found.append(_number(spec.partition(":")[0], {TRAIN, *found}))
    return tuple(found)


def check_names(specs: Sequence[str], names: Sequence[str]) -> None:
    """Raise `ValueError` where these are no names of that many folders, each its own."""
    if len({TRAIN, *names}) != 1 + len(specs) or len(names) != len(specs):
        raise ValueError(f"it has {len(specs)} test sets and calls them {list(names)}")
    odd = [name for name in names if not re.fullmatch(r"(?!\.)[\w.-]+", name)]
    if odd:
        raise ValueError(f"{odd[0]!r} is no name of a dataset")


def _base(spec: str) -> str:
    kind = spec.partition(":")[0]
    if kind not in _OF_FILES:
        return kind
    stems = [bare_name(Path(path)) for path in _paths(spec)]
    slug = re.sub(r"[^\w.]+", "-", "-".join(stems))[:_LONGEST].strip("-._")
    return HELD_OUT if slug.casefold() == TRAIN else slug or kind


def _paths(spec: str) -> list[str]:
    return [path.strip() for path in spec.partition(":")[2].split(",") if path.strip()]


def _number(base: str, taken: set[str]) -> str:
    name, number = base, 2
    while name.casefold() in taken:
        name, number = f"{base}-{number}", number + 1
    return name
