"""The endpoint client against a server that fails in every way servers do; nothing leaves the machine."""

import json
import math
import socket
import sqlite3
import threading
import time

import pytest

from hneurons.answers.responses import sample_endpoint
from hneurons.core.errors import ArtifactError, EndpointError, InputError, MissingExtraError, NotEnoughDataError
from hneurons.core.seeds import fingerprint
from hneurons.core.types import Question
from hneurons.models.endpoint import ChatRequest, Endpoint, redact_url
from hneurons.models.prompts import PromptStyle, question_turns
from support.chat_server import ChatServer, Reply

pytestmark = pytest.mark.slow


def ask(text, **options):
    return ChatRequest((("user", text),), **options)


def said(body):
    return body["messages"][-1]["content"]


def echo(number, body):
    return Reply(f"heard {said(body)}")


@pytest.fixture
def refused_url():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


def test_completions_come_in_the_order_of_the_requests_and_are_counted():
    def answer(number, body):
        return Reply(said(body).upper(), delay=0.05 if number % 2 else 0.0)

    with ChatServer(answer) as server:
        endpoint = Endpoint(server.url, "m", concurrency=4)
        found = endpoint.complete_all([ask(f"q{n}") for n in range(12)])
    assert [c.text for c in found] == [f"Q{n}" for n in range(12)]
    assert 1 < server.most <= 4
    assert (endpoint.usage.calls, endpoint.usage.prompt_tokens, endpoint.usage.completion_tokens) == (12, 84, 36)


def test_the_request_says_what_was_asked_for():
    with ChatServer(echo) as server:
        Endpoint(server.url, "m").complete(ask("hi", temperature=0.7, top_p=0.9, top_k=50, seed=3, max_tokens=9))
    (body,) = server.bodies
    assert (body["model"], body["temperature"], body["top_p"], body["top_k"]) == ("m", 0.7, 0.9, 50)
    assert (body["seed"], body["max_tokens"]) == (3, 9)
    assert "logprobs" not in body


def test_server_errors_are_tried_again_and_counted():
    with ChatServer(lambda n, body: Reply("fine") if n >= 2 else Reply(status=500, raw="{}")) as server:
        endpoint = Endpoint(server.url, "m", retries=3)
        assert endpoint.complete(ask("hi")).text == "fine"
    assert len(server.bodies) == 3
    assert endpoint.usage.retries == 2
    assert endpoint.usage.calls == 1


def test_a_rate_limit_waits_as_long_as_the_server_says():
    def answer(number, body):
        return Reply("fine") if number else Reply(status=429, raw="{}", headers=(("Retry-After", "1"),))

    with ChatServer(answer) as server:
        start = time.monotonic()
        assert Endpoint(server.url, "m", retries=1).complete(ask("hi")).text == "fine"
    assert time.monotonic() - start >= 0.95


def test_a_time_out_is_tried_again():
    with ChatServer(lambda n, body: Reply("fine", delay=0.0 if n else 2.0)) as server:
        assert Endpoint(server.url, "m", retries=1, timeout=0.3).complete(ask("hi")).text == "fine"


def test_an_endless_time_out_is_one_sentence():
    with (
        ChatServer(lambda n, body: Reply("late", delay=1.0)) as server,
        pytest.raises(EndpointError, match=rf"^{server.url} did not answer in time after 1 tries: .*kept$"),
    ):
        Endpoint(server.url, "m", retries=0, timeout=0.1).complete(ask("hi"))


@pytest.mark.parametrize("garbage", ["not json", "[]", "{}", '{"choices": []}', '{"choices": [{"message": null}]}'])
def test_garbage_is_tried_again_and_then_one_sentence(garbage):
    with ChatServer(lambda n, body: Reply("fine") if n else Reply(raw=garbage)) as server:
        assert Endpoint(server.url, "m", retries=1).complete(ask("hi")).text == "fine"
    with (
        ChatServer(lambda n, body: Reply(raw=garbage)) as server,
        pytest.raises(EndpointError, match="no chat completion after 2 tries"),
    ):
        Endpoint(server.url, "m", retries=1).complete(ask("hi"))
    assert len(server.bodies) == 2


def test_a_server_that_is_not_there_is_one_sentence_with_its_url(refused_url):
    with pytest.raises(
        EndpointError, match=f"^{refused_url} cannot be reached after 1 tries: see that the server runs"
    ):
        Endpoint(refused_url, "m", retries=0).complete(ask("hi"))


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "did not accept the key"), (404, "knows no model 'm'"), (400, "refused the request .*no such thing")],
)
def test_a_refusal_is_not_tried_again(status, message):
    with ChatServer(lambda n, body: Reply(status=status, raw='{"error": "no such thing"}')) as server:
        with pytest.raises(EndpointError, match=message):
            Endpoint(server.url, "m", retries=3).complete(ask("hi"))
        assert len(server.bodies) == 1


def test_a_server_without_log_probabilities_is_asked_without_them():
    def answer(number, body):
        if "logprobs" in body:
            return Reply(status=400, raw='{"error": "logprobs is not supported"}')
        return Reply("fine")

    with ChatServer(answer) as server:
        endpoint = Endpoint(server.url, "m")
        assert endpoint.complete(ask("a", logprobs=True))[:5] == ("fine", "stop", (), 7, 3)
        assert endpoint.complete(ask("b", logprobs=True)).logprobs == ()
    assert [("logprobs" in body) for body in server.bodies] == [True, False, False]


def test_the_cache_answers_the_same_request_and_no_other(tmp_path):
    with ChatServer(lambda n, body: Reply(f"call {n}", logprobs=(-0.5,), finish_reason="length")) as server:
        first = Endpoint(server.url, "m", cache=tmp_path / "c.sqlite").complete(ask("hi", logprobs=True))
        endpoint = Endpoint(server.url, "m", cache=tmp_path / "c.sqlite")
        assert endpoint.complete(ask("hi", logprobs=True)) == first == ("call 0", "length", (-0.5,), 7, 3, (), ("x",))
        assert (endpoint.usage.calls, endpoint.usage.cache_hits) == (0, 1)
        assert endpoint.complete(ask("hi", seed=1, logprobs=True)).text == "call 1"
        assert (
            Endpoint(server.url, "other", cache=tmp_path / "c.sqlite").complete(ask("hi", logprobs=True)).text
            == "call 2"
        )


def test_what_finished_before_the_server_died_is_not_paid_for_again(tmp_path):
    def dying(number, body):
        return echo(number, body) if number < 6 else Reply(status=503, raw="{}")

    requests = [ask(f"q{n}") for n in range(20)]
    with ChatServer(dying) as server:
        endpoint = Endpoint(server.url, "m", concurrency=2, retries=0, cache=tmp_path / "c.sqlite")
        with pytest.raises(EndpointError, match="status 503"):
            endpoint.complete_all(requests)
        port = server.port
    assert endpoint.usage.calls == 6
    with ChatServer(echo, port=port) as server:
        endpoint = Endpoint(server.url, "m", cache=tmp_path / "c.sqlite")
        found = endpoint.complete_all(requests)
    assert [c.text for c in found] == [f"heard q{n}" for n in range(20)]
    assert (endpoint.usage.cache_hits, endpoint.usage.calls, len(server.bodies)) == (6, 14, 14)


def test_a_damaged_cache_is_one_sentence(tmp_path):
    (tmp_path / "c.sqlite").write_bytes(b"this is no database, but long enough to be read as one" * 40)
    with pytest.raises(ArtifactError, match="delete it"):
        Endpoint("http://localhost/v1", "m", cache=tmp_path / "c.sqlite")


def test_an_url_without_a_scheme_is_one_sentence():
    with pytest.raises(InputError, match="begins with http"):
        Endpoint("localhost:8000", "m")


def test_without_the_openai_package_the_pip_command_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'hneurons\[endpoint\]'"):
        Endpoint("http://localhost/v1", "m")


def fail(answer, message, request=None, **options):
    """Ask once and expect this message; the server, for what it has seen."""
    with ChatServer(answer) as server, pytest.raises(EndpointError, match=message):
        Endpoint(server.url, "m", **options).complete(request or ask("hi"))
    return server


# ---- what servers say that is not by the book -------------------------------------------------------------------


def answer_with(content='"fine"', logprobs="null", **more):
    extra = "".join(f', "{name}": {value}' for name, value in more.items())
    choice = f'{{"message": {{"content": {content}}}, "finish_reason": "stop", "logprobs": {logprobs}}}'
    return Reply(raw=f'{{"choices": [{choice}]{extra}}}')


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('[{"type": "text", "text": "Par"}, {"type": "text", "text": "is"}]', "Paris"),
        ('["Par", "is"]', "Paris"),
        ('[{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Paris"}]', "Paris"),
        ("[]", ""),
        ("null", ""),
        ("42", "42"),
        ("1.5", "1.5"),
        ("true", "true"),
        (r'"a\ud800b"', "a\ufffdb"),
        (r'"\ud83c\udf89"', "\U0001f389"),
    ],
)
def test_content_in_parts_a_number_or_half_a_character_is_text(content, text):
    with ChatServer(lambda n, body: answer_with(content)) as server:
        assert Endpoint(server.url, "m", retries=0).complete(ask("hi")).text == text


@pytest.mark.parametrize("content", ['{"text": "x"}', "[[1]]", "[null]"])
def test_content_of_another_kind_is_no_completion(content):
    fail(lambda n, body: answer_with(content), "no chat completion after 1 tries", retries=0)


@pytest.mark.parametrize(
    ("logprobs", "expected"),
    [
        ('{"content": [{"logprob": -0.5}, {"logprob": -1}]}', (-0.5, -1.0)),
        ('{"content": [{"logprob": -0.5}, {"logprob": null}]}', ()),
        ('{"content": [{"logprob": NaN}]}', ()),
        ('{"content": [{"logprob": -Infinity}]}', ()),
        ('{"content": [{"logprob": "-0.5"}]}', ()),
        ('{"content": null}', ()),
        ("null", ()),
    ],
)
def test_log_probabilities_are_there_for_every_token_or_for_none(logprobs, expected):
    with ChatServer(lambda n, body: answer_with(logprobs=logprobs)) as server:
        assert Endpoint(server.url, "m", retries=0).complete(ask("hi", logprobs=True)).logprobs == expected


@pytest.mark.parametrize("status", [400, 422, 200])
@pytest.mark.parametrize("refused", ["max_tokens", "temperature", "seed", "top_p", "top_k", "logprobs"])
def test_a_parameter_that_the_server_does_not_know_is_left_out_from_then_on(refused, status, caplog):
    def answer(number, body):
        error = {"error": {"message": f"Unsupported parameter: '{refused}' is not supported", "code": 400}}
        return Reply(status=status, raw=json.dumps(error)) if refused in body else Reply("fine")

    request = ask("hi", temperature=0.5, seed=3, top_k=5, logprobs=True)
    with ChatServer(answer) as server:
        endpoint = Endpoint(server.url, "m", retries=0)
        assert [endpoint.complete(request).text for _ in range(2)] == ["fine", "fine"]
    first, second, third = server.bodies
    assert set(first) - set(second) == {refused} and set(second) == set(third)
    assert set(second) - set(first) == ({"max_completion_tokens"} if refused == "max_tokens" else set())
    assert endpoint.refused == {refused} and endpoint.usage.retries == 0
    assert caplog.text.count(f"refuses '{refused}'") == 1


def name_tokens(*places):
    """The `logprobs` of a choice: each place's token, and the likeliest tokens there with their probabilities."""
    tokens = [
        {"token": token, "logprob": math.log(named.get(token, 0.1)),
         "top_logprobs": [{"token": one, "logprob": math.log(share)} for one, share in named.items()]}
        for token, named in places
    ]  # fmt: skip
    return answer_with(logprobs=json.dumps({"content": tokens}))


def test_entropies_of_the_likeliest_tokens_count_the_rest_as_one_token():
    sure, open_ = {"a": 0.5, "b": 0.25}, {"c": 0.6, "d": 0.2}
    with ChatServer(lambda n, body: name_tokens(("b", sure), ("x", open_), ("e", {"e": 1.0}))) as server:
        found = Endpoint(server.url, "m").complete(ask("hi", logprobs=True, top_logprobs=5))
    half, quarter = 0.5 * math.log(2), 0.25 * math.log(4)
    third = -sum(p * math.log(p) for p in (0.6, 0.2, 0.1, 0.1))  # the token that was drawn, and what is left
    assert found.entropies == pytest.approx([half + 2 * quarter, third, 0.0], abs=1e-4)
    assert found.token_texts == ("b", "x", "e") and server.bodies[0]["top_logprobs"] == 5


def test_entropies_from_the_likeliest_tokens_are_lower_bounds_that_grow_with_their_number():
    shares = dict(zip("abcdefgh", [0.3, 0.2, 0.15, 0.1, 0.1, 0.08, 0.05, 0.02], strict=True))
    whole = -sum(p * math.log(p) for p in shares.values())
    found = []
    for k in (1, 2, 4, 7, 8):
        with ChatServer(lambda n, body, k=k: name_tokens(("a", dict(list(shares.items())[:k])))) as server:
            found += Endpoint(server.url, "m").complete(ask("hi", logprobs=True, top_logprobs=k)).entropies
    assert found == sorted(found) and found[-1] == pytest.approx(whole, abs=1e-4) and found[-2] <= whole


@pytest.mark.parametrize("named", [[], [{"token": "a", "logprob": None}], [{"token": "a", "logprob": "-1"}]])
def test_without_likeliest_tokens_at_every_place_there_are_no_entropies(named):
    first = {"token": "a", "logprob": -0.1, "top_logprobs": [{"token": "a", "logprob": -0.1}]}
    content = json.dumps({"content": [first, {**first, "top_logprobs": named}]})
    with ChatServer(lambda n, body: answer_with(logprobs=content)) as server:
        found = Endpoint(server.url, "m").complete(ask("hi", logprobs=True, top_logprobs=5))
    assert found.entropies == () and found.logprobs == (-0.1, -0.1)


def test_a_server_that_names_fewer_tokens_is_asked_for_none_and_keeps_the_log_probabilities():
    def answer(number, body):
        if "top_logprobs" in body:
            return Reply(status=400, raw='{"error": {"message": "top_logprobs must be at most 5"}}')
        return Reply("fine", logprobs=(-0.5,))

    with ChatServer(answer) as server:
        endpoint = Endpoint(server.url, "m", retries=0)
        assert endpoint.complete(ask("hi", logprobs=True, top_logprobs=20)).logprobs == (-0.5,)
    assert endpoint.refused == {"top_logprobs"} and server.bodies[-1]["logprobs"] is True


def test_completions_of_earlier_versions_are_known_without_entropies(tmp_path):
    with ChatServer(lambda n, body: Reply("new")) as server:
        endpoint = Endpoint(server.url, "m", cache=tmp_path / "c.sqlite")
        row = {"messages": [["user", "hi"]], "max_tokens": 256, "temperature": 0.0, "top_p": 1.0, "top_k": None,
               "seed": None, "logprobs": True}  # fmt: skip
        key = fingerprint([server.url, "m", row])
        with sqlite3.connect(tmp_path / "c.sqlite") as database:
            value = json.dumps(["old", "stop", [-0.5], 7, 3])
            database.execute("INSERT INTO completions VALUES (?, ?)", (key, value))
        assert endpoint.complete(ask("hi", logprobs=True)) == ("old", "stop", (-0.5,), 7, 3, (), ())
        both = [endpoint.complete(ask("hi", logprobs=True, top_logprobs=5)) for _ in range(2)]
    assert both[0] == both[1] and both[0].text == "new"


def test_a_server_that_knows_no_parameter_at_all_is_asked_with_messages_alone():
    def answer(number, body):
        unknown = sorted(set(body) - {"model", "messages"})
        return Reply(status=400, raw=f'{{"detail": "Unknown field {unknown[0]}"}}') if unknown else Reply("fine")

    with ChatServer(answer) as server:
        request = ask("hi", temperature=0.5, seed=3, top_k=5, logprobs=True)
        assert Endpoint(server.url, "m", retries=0).complete(request).text == "fine"
    assert len(server.bodies) == 8


def test_a_value_that_is_too_large_is_refused_with_the_servers_words():
    error = '{"error": {"message": "max_tokens is too large: 5000, the context holds 2048"}}'
    message = r"refused the request with status 400 .*too large"
    server = fail(lambda n, body: Reply(status=400, raw=error), message, ask("hi", max_tokens=5000))
    assert len(server.bodies) == 1


def test_an_error_that_comes_with_status_200_is_said_and_tried_again_where_it_may_pass():
    busy, bad = '{"error": {"message": "overloaded", "code": 503}}', '{"error": {"message": "no way", "code": 403}}'
    with ChatServer(lambda n, body: Reply("fine") if n else Reply(raw=busy)) as server:
        assert Endpoint(server.url, "m", retries=1).complete(ask("hi")).text == "fine"
    fail(lambda n, body: Reply(raw=busy), r"answered with status 503 .*overloaded.* after 1 tries", retries=0)
    assert len(fail(lambda n, body: Reply(raw=bad), r"status 403 .*no way").bodies) == 1
    fail(lambda n, body: Reply(raw='{"error": "plain words"}'), "plain words", retries=0)


def test_a_server_that_never_answers_is_given_up_after_two_time_outs():
    start = time.monotonic()
    fail(lambda n, body: Reply("late", delay=1.5), "did not answer in time after 2 tries", timeout=0.2)
    assert time.monotonic() - start < 1.4


def test_retries_end_at_the_total_limit():
    busy = Reply(status=503, raw="{}", headers=(("Retry-After", "3"),))
    start = time.monotonic()
    fail(lambda n, body: busy, r"status 503 .*after 1 tries", limit=2)
    assert time.monotonic() - start < 2


def test_a_server_that_drips_for_ever_is_a_time_out():
    def drip(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n")
        try:
            while True:
                connection.sendall(b" ")
                time.sleep(0.02)
        except OSError:
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=drip, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        start = time.monotonic()
        with pytest.raises(EndpointError, match="did not answer in time after 2 tries"):
            Endpoint(f"http://127.0.0.1:{server.getsockname()[1]}/v1", "m", timeout=0.3).complete(ask("hi"))
        assert time.monotonic() - start < 3


def test_an_answer_nested_too_deep_is_no_completion():
    fail(lambda n, body: Reply(raw="[" * 100_000), "no chat completion", retries=0)


SECRET = "http://user:PASSWORD@127.0.0.1:{port}/v1?key=QUERYKEY"


def test_no_message_holds_user_password_query_or_key(tmp_path, caplog):
    def answer(number, body):
        return Reply(status=400, raw='{"error": "no luck with PRIVATEKEY at ' + secret + '"}')

    with ChatServer(answer) as server:
        secret = SECRET.format(port=server.port)
        endpoint = Endpoint(secret, "m", retries=0, api_key="PRIVATEKEY", cache=tmp_path / "c.sqlite")
        assert endpoint.url == server.url
        with pytest.raises(EndpointError) as refused:
            endpoint.complete(ask("hi"))
    with pytest.raises(EndpointError) as gone:
        endpoint.complete(ask("hi"))
    with pytest.raises(InputError) as wrong:
        Endpoint("user:PASSWORD@host/v1?key=QUERYKEY", "m")
    with pytest.raises(InputError) as odd:
        Endpoint("http://user:PASSWORD@host:notaport/v1?key=QUERYKEY", "m")
    said = " ".join(str(caught.value) for caught in (refused, gone, wrong, odd)) + caplog.text + repr(endpoint)
    for part in ("PASSWORD", "QUERYKEY", "PRIVATEKEY", "user"):
        assert part not in said.replace("users", "")
    assert "PASSWORD" not in (tmp_path / "c.sqlite").read_bytes().decode("latin-1")


def test_a_query_in_the_address_is_sent_with_every_call():
    with ChatServer(echo) as server:
        assert Endpoint(f"{server.url}?key=K&b=2", "m").complete(ask("hi")).text == "heard hi"
    assert server.paths == ["/v1/chat/completions?key=K&b=2"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://u:p@host:80/v1?k=1#f", "http://host:80/v1"),
        ("https://u:p%40q@[::1]:80/v1", "https://[::1]:80/v1"),
        ("http://a@b@host/v1", "http://host/v1"),
        ("http://host/v1/a@b", "http://host/v1/a@b"),
        ("http://host?k=1/2@3", "http://host"),
        ("u:p@host/v1?k", "host/v1"),
        ("http://localhost:8000/v1", "http://localhost:8000/v1"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url, shown):
    assert redact_url(url) == shown


# ---- sampling ----------------------------------------------------------------------------------------------------

QUESTIONS = [Question(f"q{n}", f"Who is number {n}?") for n in range(20)]


def by_seed(number, body):
    return Reply(f" {said(body)} {body['seed']} ", logprobs=(-0.1, -0.2), finish_reason="length")


def test_sampling_gives_every_sample_a_seed_of_its_own_and_keeps_what_the_server_tells():
    style = PromptStyle(instruction="Be short.", shots=(("Who?", "Nobody"),))
    with ChatServer(by_seed) as server:
        found = sample_endpoint(QUESTIONS[:3], Endpoint(server.url, "m"), n=4, style=style, seed=1)
        again = sample_endpoint(QUESTIONS[:3], Endpoint(server.url, "m"), n=4, style=style, seed=1)
        other = sample_endpoint(QUESTIONS[:3], Endpoint(server.url, "m"), n=4, style=style, seed=2)
    assert found.responses == again.responses
    assert [r.id for r in found.responses] == [f"q{q}#{s}" for q in range(3) for s in range(4)]
    assert len({r.text for r in found.responses + other.responses}) == 24
    first = found.responses[0]
    assert first.text.startswith("Who is number 0? Be short. ")
    assert (first.logprobs, first.finish_reason, first.token_ids) == ((-0.1, -0.2), "length", ())
    assert found.summary["truncated"] == found.summary["with_logprobs"] == 12
    assert [m["role"] for m in server.bodies[0]["messages"]] == ["user", "assistant", "user"]
    assert first.token_texts == ("x", "x") and server.bodies[0]["top_logprobs"] == 20
    assert question_turns("Why?", style)[0] == ("user", "Who? Be short.")


def test_sampling_goes_on_where_the_server_died_and_ends_with_the_same_bytes(tmp_path):
    def dying(number, body):
        return by_seed(number, body) if number < 36 else Reply(status=500, raw="{}")

    with ChatServer(dying) as server, pytest.raises(EndpointError):
        sample_endpoint(QUESTIONS, Endpoint(server.url, "m", retries=0), n=2, out=tmp_path / "a")
    with ChatServer(by_seed) as server:
        resumed = sample_endpoint(QUESTIONS, Endpoint(server.url, "m"), n=2, out=tmp_path / "a")
        calls = len(server.bodies)
        whole = sample_endpoint(QUESTIONS, Endpoint(server.url, "m"), n=2, out=tmp_path / "b")
    assert calls == 8
    assert resumed == whole
    for name in ("rows.jsonl", "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_server_that_ignores_the_temperature_is_noticed(caplog):
    with ChatServer(echo) as server:
        found = sample_endpoint(QUESTIONS, Endpoint(server.url, "m"), n=2)
        assert found.summary["identical"] == 20
        assert "seems to ignore the temperature" in caplog.text
        caplog.clear()
        sample_endpoint(QUESTIONS, Endpoint(server.url, "m"), n=2, temperature=0.0)
        assert not caplog.text


def test_unusable_sampling_arguments_are_one_sentence():
    endpoint = Endpoint("http://localhost/v1", "m")
    with pytest.raises(InputError, match="at least one"):
        sample_endpoint(QUESTIONS, endpoint, n=0)
    with pytest.raises(InputError, match="chat template"):
        sample_endpoint(QUESTIONS, endpoint, style=PromptStyle(chat=False))
    with pytest.raises(NotEnoughDataError, match="no questions"):
        sample_endpoint([], endpoint)
