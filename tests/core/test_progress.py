"""Progress: a line that fits the terminal, with the time left; log files get whole lines."""

import re
import sys

import pytest

from hneurons.core import progress as module
from hneurons.core.progress import describe_pace, enable_progress, progress


def draw(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, columns: int, terminal: bool) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "20")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    enable_progress()
    with progress("contributions", 12_000, done=2_000) as advance:
        for _ in range(3):
            advance(100, "123 right, 45 wrong")
    return capsys.readouterr().err


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_bar_fits_the_terminal_and_says_how_long_still(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    said = draw(monkeypatch, capsys, columns=columns, terminal=True)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said).replace("\r", "\n")
    lines = [line for line in plain.split("\n") if line.strip()]
    assert max(map(len, lines)) <= columns
    assert re.match(r"contributions \S+ 2,300/12,000, [\d,.]+/s, \d+:\d\d left", lines[-1])
    assert ("123 right, 45 wrong" in lines[-1]) == (columns >= 80)


def test_a_log_file_gets_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_EVERY", 0.0)
    said = draw(monkeypatch, capsys, columns=80, terminal=False)
    assert "\x1b" not in said
    assert re.findall(r"^contributions (2,\d00)/12,000, [\d,.]+/s, \d+:\d\d left$", said, re.MULTILINE) == [
        "2,100", "2,200", "2,300",
    ]  # fmt: skip


def test_nothing_is_drawn_unless_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("sample", 3) as advance:
        advance()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("done", "total", "rate", "said"),
    [
        (340.5, 2000, 12.3, "340/2,000, 12.3/s, 2:15 left"),
        (0, 10, 0, "0/10"),
        (5, 10, 0.01, "5/10, 0.6/min, 8:20 left"),
        (0, 90_000, 2.5, "0/90,000, 2.5/s, 10:00:00 left"),
        (10, 10, 3.0, "10/10, 3.0/s, 0:00 left"),
    ],
)
def test_pace_in_words(done: float, total: int, rate: float, said: str) -> None:
    assert describe_pace(done, total, rate) == said
