"""The `label` stage: every response gets a verdict, resumably, and nothing is dropped in silence."""

import os
import signal
import subprocess
import sys
import time

import pytest

from hneurons.answers.judges.known_error import describe_error, known_error
from hneurons.answers.judges.probability import Thresholds
from hneurons.answers.judging import JUDGES, label_responses, load_judgements
from hneurons.core.errors import ArtifactError, EndpointError, InputError
from hneurons.core.types import Response
from hneurons.models.endpoint import Endpoint
from support.chat_server import ChatServer, Reply
from support.judged import QUESTIONS, RESPONSES
from support.places import ROOT


def verdict_line(number, body):
    return Reply("VERDICT: CORRECT" if "It is" in body["messages"][1]["content"] else "VERDICT: INCORRECT")


def test_every_response_gets_a_verdict_in_order_and_all_are_counted():
    found = label_responses(QUESTIONS, RESPONSES)
    assert [j.id for j in found.judgements] == [r.id for r in RESPONSES]
    assert [j.verdict for j in found.judgements[:4]] == ["correct", "abstained", "incorrect", "unscored"]
    assert found.summary == {
        "responses": 160,
        "verdicts": {"correct": 40, "incorrect": 40, "abstained": 40, "unscored": 40},
        "truncated": {"incorrect": 40},
        "known_error": describe_error("alias"),
    }


def test_no_responses_give_no_verdicts(tmp_path):
    assert label_responses(QUESTIONS, [], out=tmp_path).judgements == []
    assert load_judgements(tmp_path).summary["responses"] == 0


def test_a_finished_result_is_read_back_without_judging_again(tmp_path):
    first = label_responses(QUESTIONS, RESPONSES, out=tmp_path / "out")
    assert label_responses(QUESTIONS, RESPONSES, out=tmp_path / "out") == first == load_judgements(tmp_path / "out")


def test_other_responses_or_another_judge_do_not_reuse_a_folder(tmp_path):
    label_responses(QUESTIONS, RESPONSES, out=tmp_path)
    with pytest.raises(ArtifactError, match="input responses"):
        label_responses(QUESTIONS, [Response("q0", 0, "0"), *RESPONSES[1:]], out=tmp_path)
    with pytest.raises(ArtifactError, match='judge was "alias", now "llm"'):
        label_responses(QUESTIONS, RESPONSES, judge="llm", endpoint=Endpoint("http://localhost/v1", "m"), out=tmp_path)


def test_verdicts_by_other_rules_are_not_reused(tmp_path, monkeypatch):
    label_responses(QUESTIONS, RESPONSES, out=tmp_path)
    version = JUDGES.get("alias").version
    monkeypatch.setattr(JUDGES.get("alias"), "version", version + 1)
    with pytest.raises(ArtifactError, match=f"version was {version}, now {version + 1}"):
        label_responses(QUESTIONS, RESPONSES, out=tmp_path)


@pytest.mark.slow
def test_a_judge_that_dies_half_way_keeps_what_is_done_and_ends_with_the_same_bytes(tmp_path):
    def dying(number, body):
        return verdict_line(number, body) if number < 70 else Reply(status=502, raw="{}")

    with (
        ChatServer(dying) as server,
        pytest.raises(EndpointError, match=rf"{server.url} answered with status 502 .* results so far are kept$"),
    ):
        endpoint = Endpoint(server.url, "m", retries=0)
        label_responses(QUESTIONS, RESPONSES, judge="llm", endpoint=endpoint, out=tmp_path / "a")
    with ChatServer(verdict_line) as server:
        resumed = label_responses(
            QUESTIONS, RESPONSES, judge="llm", endpoint=Endpoint(server.url, "m"), out=tmp_path / "a"
        )
        calls = len(server.bodies)
        label_responses(QUESTIONS, RESPONSES, judge="llm", endpoint=Endpoint(server.url, "m"), out=tmp_path / "b")
    assert calls == 120 - 48  # two chunks of 32 responses, a quarter of them empty, were done
    assert resumed.summary["verdicts"] == {"correct": 40, "incorrect": 80, "abstained": 0, "unscored": 40}
    for name in ("rows.jsonl", "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


KILLED = """
import sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from support.judged import QUESTIONS, RESPONSES
from hneurons.answers.judging import label_responses
from hneurons.models.endpoint import Endpoint
label_responses(QUESTIONS, RESPONSES, judge="llm", endpoint=Endpoint(sys.argv[1], "m"), out=Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path):
    def slow(number, body):
        return verdict_line(number, body)._replace(delay=0.05)

    with ChatServer(slow) as server:
        here = str(ROOT / "tests")
        process = subprocess.Popen([sys.executable, "-c", KILLED, server.url, str(tmp_path / "a"), here])
        deadline = time.monotonic() + 60
        while len(server.bodies) < 40 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert 40 <= len(server.bodies) < 120
        for out in ("a", "b"):
            label_responses(QUESTIONS, RESPONSES, judge="llm", endpoint=Endpoint(server.url, "m"), out=tmp_path / out)
    for name in ("rows.jsonl", "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_unusable_arguments_are_one_sentence():
    with pytest.raises(InputError, match="unknown judge 'x': known are alias, llm"):
        label_responses(QUESTIONS, RESPONSES, judge="x")
    with pytest.raises(InputError, match="needs an endpoint"):
        label_responses(QUESTIONS, RESPONSES, judge="llm")
    with pytest.raises(InputError, match=r"4 responses answer no given question \(first: q0#0\)"):
        label_responses(QUESTIONS[1:], RESPONSES)


def test_every_judge_says_what_it_does():
    assert all(JUDGES.summaries().values())


@pytest.mark.parametrize("responses", [RESPONSES, RESPONSES[:4]])
def test_a_judge_that_never_gives_a_verdict_stops_the_stage(tmp_path, responses):
    with (
        ChatServer(lambda number, body: Reply("Great question!")) as server,
        pytest.raises(EndpointError, match=r"gave no verdict that can be read on any of .*last said 'Great question!'"),
    ):
        label_responses(QUESTIONS, responses, judge="llm", endpoint=Endpoint(server.url, "m"), out=tmp_path)
    with pytest.raises(ArtifactError):
        load_judgements(tmp_path)


def test_thresholds_move_verdicts_to_unscored_and_say_their_error():
    strict, loose = Thresholds(incorrect=0.01, correct=0.999), Thresholds(incorrect=0.4, correct=0.6)
    counts = [label_responses(QUESTIONS, RESPONSES, thresholds=t).summary["verdicts"] for t in (strict, loose)]
    assert counts[0]["incorrect"] < counts[1]["incorrect"] and counts[0]["unscored"] > counts[1]["unscored"]
    errors = [known_error("alias", t) for t in (strict, loose)]
    assert (
        errors[0].incorrect.error.value < errors[1].incorrect.error.value
        and errors[0].incorrect.share < errors[1].incorrect.share
    )
    assert known_error("llm") is None and "not been measured" in describe_error("llm")
    unknown = Thresholds(incorrect=0.6, correct=0.9), Thresholds(incorrect=0.1, correct=0.4)
    for at in unknown:  # looser than all that were measured
        assert known_error("alias", at) is None and "not been measured at this setting" in describe_error("alias", at)
    with pytest.raises(InputError, match="has no thresholds"):
        label_responses(
            QUESTIONS, RESPONSES, judge="llm", endpoint=Endpoint("http://localhost/v1", "m"), thresholds=loose
        )
    with pytest.raises(InputError, match="incorrect below correct"):
        Thresholds(incorrect=0.9, correct=0.1)
