"""The registry: names, plugins of other packages, and what is said where one of them is broken."""

import logging
from importlib.metadata import EntryPoint
from typing import ClassVar, Protocol

import pytest

from hneurons.core import registry as registry_module
from hneurons.core.errors import InputError, PluginError
from hneurons.core.registry import Registry


class Shape:
    corners: int
    colour: ClassVar[str]


class Square(Shape):
    """Four corners.

    More words.
    """

    corners, colour = 4, "red"


class Colourless(Shape):
    corners = 3


def not_a_shape() -> None:
    pass


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fake entry points; the list holds the groups that were asked for."""
    asked: list[str] = []
    here = "tests_of_registry"
    monkeypatch.setitem(__import__("sys").modules, here, type("Module", (), dict(globals())))
    points = [
        EntryPoint("square", f"{here}:Square", "hneurons.shapes"),
        EntryPoint("nowhere", "hneurons_not_there:Shape", "hneurons.shapes"),
        EntryPoint("misspelt", f"{here}:Sqare", "hneurons.shapes"),
        EntryPoint("colourless", f"{here}:Colourless", "hneurons.shapes"),
        EntryPoint("function", f"{here}:not_a_shape", "hneurons.shapes"),
        EntryPoint("point", f"{here}:Square", "hneurons.shapes"),
        EntryPoint("twice", f"{here}:Square", "hneurons.shapes"),
        EntryPoint("twice", f"{here}:Colourless", "hneurons.shapes"),
        EntryPoint("square", f"{here}:Square", "hneurons.shapes"),  # one package found in two places of the path
    ]

    def find(*, group: str) -> list[EntryPoint]:
        asked.append(group)
        return [point for point in points if point.group == group]

    monkeypatch.setattr(registry_module, "entry_points", find)
    return asked


def shapes() -> Registry[type[Shape]]:
    shapes: Registry[type[Shape]] = Registry("shape", base=Shape)

    @shapes.register("point")
    class Point(Shape):
        """No corner."""

        corners, colour = 0, "black"

    return shapes


def test_built_in_names_need_no_look_at_installed_packages(looked_up: list[str]) -> None:
    assert shapes().get("point").corners == 0
    assert looked_up == []


def test_a_plugin_is_found_by_name_and_looked_up_once(looked_up: list[str]) -> None:
    registry = shapes()
    assert registry.get("square") is Square
    assert registry.get("square") is Square
    assert looked_up == ["hneurons.shapes"]


def test_a_kind_of_two_words_has_its_first_word_as_group() -> None:
    assert Registry("question set").group == "hneurons.questions"


def test_an_unknown_name_lists_plugins_too_without_importing_them(looked_up: list[str]) -> None:
    with pytest.raises(InputError, match=r"unknown shape 'ring': known are .*nowhere, point, square, twice"):
        shapes().get("ring")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", r"cannot be loaded \(ModuleNotFoundError: .*hneurons_not_there"),
        ("misspelt", r"cannot be loaded \(AttributeError: .*Sqare"),
        ("colourless", r"cannot be used: tests_of_registry:Colourless does not have colour"),
        ("function", r"cannot be used: tests_of_registry:not_a_shape is not a subclass of .*Shape"),
        ("twice", r"comes from package .* and package .*: uninstall all but one"),
    ],
)
def test_a_broken_plugin_is_one_sentence(looked_up: list[str], name: str, said: str) -> None:
    with pytest.raises(PluginError, match=said) as caught:
        shapes().get(name)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_called_is_no_function() -> None:
    registry: Registry[object] = Registry("audit")
    assert registry._problem(3) == "cannot be called"
    assert registry._problem(not_a_shape) is None


class Sized(Protocol):
    sides: int

    def area(self) -> float: ...


def test_an_object_has_all_members_of_a_protocol() -> None:
    registry: Registry[Sized] = Registry("size", base=Sized)

    class Half:
        sides = 3

    class Whole(Half):
        def area(self) -> float:
            return 1.0

    assert registry._problem(Half()) == "does not have area"
    assert registry._problem(Whole()) is None


def test_broken_plugins_do_not_keep_others_from_being_used(
    looked_up: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert list(shapes()) == ["point", "square"]
    assert "the shape 'nowhere'" in caplog.text and "Traceback" not in caplog.text


def test_a_list_says_what_is_wrong_with_a_broken_one(looked_up: list[str]) -> None:
    lines = shapes().summaries()
    assert lines["square"] == "Four corners."
    assert lines["nowhere"].startswith("not available: the shape 'nowhere' of ")


def test_a_built_in_name_is_not_taken_by_a_plugin(looked_up: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        registry = shapes()
        assert registry.summaries()["point"] == "No corner."
    assert "the shape 'point' of package" in caplog.text and "is not used" in caplog.text


def test_a_name_registered_twice_is_an_error_of_the_programmer() -> None:
    registry = shapes()
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("point")(Square)
