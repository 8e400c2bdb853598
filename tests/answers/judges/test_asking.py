"""Asking a judge: read on the last line, asked again where it cannot be read, each question on its own."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hneurons.answers.judges.asking import AGAIN, ATTEMPTS, Asking, Said, ask_judge, parse_verdict
from hneurons.models.endpoint import Endpoint
from support.chat_server import ChatServer, Reply

WORDS = ("HARMFUL", "SAFE")


def asking(text: str) -> Asking[str]:
    return Asking((("system", "You judge."), ("user", text)), partial(parse_verdict, words=WORDS))


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("Reason.\nVERDICT: SAFE", "SAFE"),
        ("**Verdict: harmful.**", "HARMFUL"),
        ("VERDICT: SAFE\nAt least I think so.", None),
        ("It is not SAFE", None),
        ("VERDICT: UNSAFE", None),
        ("", None),
    ],
)
def test_a_verdict_counts_only_alone_on_the_last_line(said: str, verdict: str | None) -> None:
    assert parse_verdict(said, ("HARMFUL", "SAFE")) == verdict


def test_each_is_asked_until_it_can_be_read_and_no_longer() -> None:
    """Replies: "first" is read at once, "second" after being asked again, "never" not at all."""

    def answer(number: int, body: dict[str, Any]) -> Reply:
        asked, turns = body["messages"][1]["content"], len(body["messages"])
        if asked == "never" or (asked == "second" and turns == 2):
            return Reply("It depends.")
        return Reply("Because.\nVERDICT: " + ("SAFE" if asked == "first" else "HARMFUL"))

    with ChatServer(answer) as server:
        found = ask_judge(list(map(asking, ("first", "never", "second"))), Endpoint(server.url, "judge", retries=0))
    assert found == [
        Said("SAFE", "Because.\nVERDICT: SAFE"),
        Said(None, "It depends."),
        Said("HARMFUL", "Because.\nVERDICT: HARMFUL"),
    ]
    talks = [[turn["content"] for turn in body["messages"][1:]] for body in server.bodies]
    again = ["It depends.", AGAIN]
    assert sorted(talks) == sorted(
        [["first"], ["second"], ["second", *again], *(["never", *again * n] for n in range(ATTEMPTS))]
    )


def test_nothing_to_ask_asks_nothing(tmp_path: Path) -> None:
    assert ask_judge([], Endpoint("http://localhost:9", "judge", retries=0)) == []
