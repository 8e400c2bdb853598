"""Files changed at random, and everything that reads them: any way out but one sentence is a fault.

`python tests/support/fuzzing.py --count 5000` prints each fault once, with the seed that makes it again.
"""

import argparse
import contextlib
import gzip
import io
import json
import random
import shutil
import sys
import tempfile
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hneurons.core.errors import HNeuronsError
from hneurons.core.files import checked_json, data_hash

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 0.5, -0.5, 1e308, float("inf"), float("nan"), 10**30, 10**400),
    *("", "x", "1", "NaN", "\ud800", "a" * 3000, "[/x]", "\x1b[31m", "../../etc/passwd", "\x00", "é\u212b"),
    *([], {}, [[]], [None], [1, "a"], {"a": None}),
)
ODD_FILES = (
    *(b"", b"null", b"[]", b"{}", b"3", b'"text"', b"[" * 100_000, b'{"a":' * 100_000, b"\x00" * 100, b"no json\n"),
    *(b"\xff\xfe\x00", b"[[1], [2]]", b'[{"a": 1}]\n', b"\n\n"),
)


class Journey(NamedTuple):
    """What is changed (files below the corpus that match) and what then reads it, given corpus and a new folder."""

    files: str
    read: Callable[[Path, Path], object]
    name: str = ""


@dataclass(frozen=True)
class Fault:
    """An exception that is no sentence; `place` tells faults apart."""

    seed: int
    journey: str
    change: str
    place: str
    trace: str


def run_cli(*arguments: str) -> None:
    """The command line in this process, silent; a sentence and its exit code are as good as success."""
    from hneurons.cli import main

    before, sys.argv = sys.argv, ["hneurons", *arguments]
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            main()
    except SystemExit:
        pass
    finally:
        sys.argv = before


def change_file(path: Path, rng: random.Random) -> str:
    """Change a file in one way; what was done, in words."""
    data = path.read_bytes()
    ways: list[Callable[[], str]] = [lambda: _replace_all(path, rng), lambda: _change_bytes(path, data, rng)]
    if path.suffix in (".json", ".jsonl", ".gz"):
        ways += 6 * [lambda: _change_json(path, data, rng)]
    if path.suffix == ".safetensors":
        ways += 3 * [lambda: _change_header(path, data, rng)]
    return rng.choice(ways)()


def _replace_all(path: Path, rng: random.Random) -> str:
    if rng.random() < 0.15:
        path.unlink()
        if rng.random() < 0.5:
            path.mkdir()
            return "a folder in its place"
        return "removed"
    odd = rng.choice(ODD_FILES)
    path.write_bytes(gzip.compress(odd) if path.suffix == ".gz" and rng.random() < 0.7 else odd)
    return f"replaced by {odd[:20]!r}"


def _change_bytes(path: Path, data: bytes, rng: random.Random) -> str:
    changed = bytearray(data)
    way = rng.choice(["flip", "cut", "double", "mark", "insert"])
    if way == "flip":
        for _ in range(rng.choice([1, 1, 8])):
            if changed:
                changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif way == "cut":
        del changed[rng.randrange(len(changed) + 1) :]
    elif way == "double":
        changed *= 2
    elif way == "mark":
        changed[:0] = rng.choice([b"\xef\xbb\xbf", b"\xff\xfe"])
    else:
        place = rng.randrange(len(changed) + 1)
        changed[place:place] = rng.choice([b",", b"\n", b"\x00", b"\xff", b"{", b'"', b"1e999", b"\\ud800"])
    path.write_bytes(changed)
    return f"bytes: {way}"


def _change_json(path: Path, data: bytes, rng: random.Random) -> str:
    packed = path.suffix == ".gz"
    try:
        text = (gzip.decompress(data) if packed else data).decode()
        lines = text.splitlines() if ".jsonl" in path.name else [text]
        number = rng.randrange(len(lines))
        value = json.loads(lines[number])
    except (ValueError, OSError, EOFError, zlib.error):
        return _change_bytes(path, data, rng)
    value, what = _change_value(value, rng)
    lines[number] = json.dumps(value)
    changed = "\n".join(lines).encode() + b"\n"
    path.write_bytes(gzip.compress(changed) if packed else changed)
    return what


def _change_value(value: Any, rng: random.Random) -> tuple[Any, str]:
    """A JSON value with one place in it changed."""
    places = list(_places(value))
    if not places:
        return rng.choice(ODD_VALUES), "the whole value"
    holder, key = rng.choice(places)
    way = rng.choice(["set", "set", "set", "drop", "rename", "double", "nest"])
    if way == "drop":
        del holder[key]
    elif way == "rename" and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    elif way == "double" and isinstance(holder, list):
        holder.append(holder[key])
    elif way == "nest":
        holder[key] = json.loads("[" * 300 + "]" * 300)
    else:
        holder[key] = rng.choice(ODD_VALUES)
    return value, f"{way} {key!r}"


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _change_header(path: Path, data: bytes, rng: random.Random) -> str:
    length = int.from_bytes(data[:8], "little")
    try:
        value, what = _change_value(json.loads(data[8 : 8 + length]), rng)
    except ValueError:
        return _change_bytes(path, data, rng)
    header = json.dumps(value).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    return f"header: {what}"


def seal(root: Path, path: Path, before: bytes) -> None:
    """Put the new hash of a changed file wherever the old one is recorded, so that readers look into the file."""
    changed = [(path, before)]
    while changed:
        place, old = changed.pop()
        if not place.is_file():
            continue
        _check(place)
        new = data_hash(place.read_bytes()).encode()
        for holder in root.rglob("*.json"):
            if holder != place and holder.is_file() and data_hash(old).encode() in (text := holder.read_bytes()):
                holder.write_bytes(text.replace(data_hash(old).encode(), new))
                changed.append((holder, text))


def _check(path: Path) -> None:
    """Renew the checksum of a JSON object that has one."""
    with contextlib.suppress(ValueError, RecursionError, TypeError, OverflowError):
        row = json.loads(path.read_bytes()) if path.suffix == ".json" else None
        if isinstance(row, dict) and "checksum" in row:
            row.pop("checksum")
            path.write_bytes(checked_json(row))


def fuzz(corpus: Path, journeys: list[Journey], *, count: int, seed: int) -> list[Fault]:
    """Faults of `count` changed corpora, each place once. Seed n + i makes the i-th change."""
    found: dict[str, Fault] = {}
    for number in range(seed, seed + count):
        fault = fuzz_once(corpus, journeys, number)
        if fault is not None:
            found.setdefault(fault.place, fault)
    return list(found.values())


def fuzz_once(corpus: Path, journeys: list[Journey], seed: int) -> Fault | None:
    """One change of one file of a copy of the corpus, and one reading of it."""
    rng = random.Random(seed)
    journey = rng.choice(journeys)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "corpus"
        top = journey.files.split("/")[0]
        files = sorted(path for path in corpus.glob(journey.files) if path.is_file())
        path = rng.choice(files).relative_to(corpus)
        for part in {top, *(name for name in ("model",) if (corpus / name).is_dir())}:
            if (corpus / part).is_dir():
                shutil.copytree(corpus / part, copy / part)
        if (corpus / top).is_file():
            copy.mkdir(exist_ok=True)
            shutil.copy(corpus / top, copy / top)
        before = (copy / path).read_bytes()
        what = f"{path}: {change_file(copy / path, rng)}"
        if rng.random() < 0.8:
            seal(copy / top if (copy / top).is_dir() else copy, copy / path, before)
        try:
            journey.read(copy, Path(folder) / "out")
        except HNeuronsError:
            return None
        except Exception as error:
            frames = [f for f in traceback.extract_tb(error.__traceback__) if "/hneurons/" in f.filename]
            place = (
                f"{type(error).__name__} in {frames[-1].filename.split('/hneurons/')[-1]}:{frames[-1].name}"
                if frames
                else repr(error)
            )
            return Fault(seed, journey.name or journey.files, what, place, traceback.format_exc())
    return None


def make_corpus(folder: Path) -> None:
    """One of everything that is read: a run, its release, a set, a recorded run, questions, an import map, a model."""
    from hneurons.audits import Mapping, import_run, save_run
    from hneurons.neurons.opening import open_neurons
    from support.tiny_run import make_plan, plan_arguments

    plan = make_plan(folder)
    (folder / "questions").mkdir()
    for name in ("train.jsonl", "test.jsonl.gz"):
        (folder / name).rename(folder / "questions" / name)
    plan = make_plan(
        folder,
        questions=f"file:{folder / 'questions/train.jsonl'}",
        tests=(f"file:{folder / 'questions/test.jsonl.gz'}",),
    )
    rows = [json.loads(line) for line in (folder / "questions/train.jsonl").read_text().splitlines()[:5]]
    (folder / "questions/all.json").write_text(json.dumps(rows))
    table = "\n".join(f"{r['id']};{r['question']};{r['answers'][0]}" for r in rows)
    (folder / "questions/table.csv").write_text("id;question;answer\n" + table + "\n")
    (folder / "interrupted").mkdir()
    (folder / "interrupted/all.json").write_text(json.dumps(rows))
    run_cli("run", *plan_arguments(plan), "--out", str(folder / "run"))
    run_cli("publish", str(folder / "run"), "--out", str(folder / "release"))
    open_neurons(str(folder / "run")).save(folder / "set")
    (folder / "import").mkdir()
    table = "\n".join(f"{i},{c},{a},{i % 2},said {i},A" for i in range(8) for c in ("sel", "random1") for a in (0, 1))
    (folder / "import/rows.csv").write_text("item,condition,alpha,outcome,response,choice\n" + table + "\n")
    (folder / "import/rows.jsonl").write_text(
        "".join(json.dumps({"item": str(i), "condition": "sel", "alpha": i % 2, "outcome": 1}) + "\n" for i in range(8))
    )
    mapping = {
        "settings": {"benchmark": "toy", "no_op": 1.0}, "columns": {"id": "item", "group": "{item}/{alpha}"},
        "extract": {"judge": ["item", "^(.)"]}, "where": {"condition": ["sel", "random1"]},
        "values": {"outcome": {"1": 1.0}}, "conditions": {"random*": "random@sel"},
    }  # fmt: skip
    (folder / "import/map.json").write_text(json.dumps(mapping))
    save_run(import_run(folder / "import/rows.csv", Mapping.load(folder / "import/map.json")), folder / "recorded")
    run_cli("scores", str(folder / "run"))
    _write_answers(folder)
    with contextlib.suppress(KeyboardInterrupt):
        _sample(folder, answers=4)


def _write_answers(folder: Path) -> None:
    """Answers to be scored, a detector for them, and their scores."""
    (folder / "answers").mkdir()
    shutil.copytree(folder / "release", folder / "answers/detector")
    rows: list[dict[str, Any]] = [
        {"id": "a", "question": "Which river is it?", "response": "Seine", "finish_reason": "length"},
        {"id": "b", "question": "Which city is it?", "response": "Paris", "context": "Of France.", "token_ids": []},
        {"id": "c", "messages": [{"role": "user", "content": "Which?"}], "answer": "The Seine."},
        {"id": "d", "question": "Which letters?", "response": "AB", "token_ids": [34, 35]},
    ]
    (folder / "answers/answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "answers/answers.csv").write_text('question,response,token_ids\nq,Paris,\nr,AB,"[34, 35]"\n')
    run_cli(*SCORE_FILE.format(c=folder, kind="jsonl", out=folder / "answers/scored").split())


SCORE_FILE = "score {c}/answers/detector --model {c}/model --file {c}/answers/answers.{kind} --out {out}"


def _sample(folder: Path, *, answers: int) -> None:
    """Sample into `interrupted`, with Ctrl-C at one answer."""
    from hneurons.answers.questions import load_questions
    from hneurons.answers.responses import sample_responses
    from hneurons.models.language_model import load_model
    from hneurons.models.sampling import Sampling
    from support.tiny_run import judge_by_number

    left = [answers]

    def judge(question: Any, text: str) -> Any:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return judge_by_number(question, text)

    sample_responses(
        load_model(str(folder / "model"), device="cpu"),
        load_questions(f"file:{folder / 'interrupted/all.json'}"),
        n=3, rounds=(1, 2), sampling=Sampling(max_new_tokens=4), judge=judge, out=folder / "interrupted", max_rows=4,
    )  # fmt: skip


def journeys() -> list[Journey]:
    """Everything that reads files, with the files that it reads."""
    from hneurons.answers.questions import load_questions
    from hneurons.models.language_model import load_model
    from hneurons.models.stored_weights import open_stored
    from hneurons.neurons.opening import open_neurons

    def cli(files: str, command: str) -> Journey:
        def read(corpus: Path, out: Path) -> None:
            run_cli(*(part.format(c=corpus, out=out) for part in command.split()))

        return Journey(files, read, f"{files}: {command}")

    def model(files: str, read: Callable[[str], object]) -> Journey:
        return Journey(f"model/{files}", lambda corpus, out: read(str(corpus / "model")), f"model/{files}")

    stages = ("show", "report", "verify", "select", "locate", "label", "evaluate")
    import_table = "import {c}/import/rows.csv --map {c}/import/map.json --out {out}"
    import_lines = "import {c}/import/rows.jsonl --map {c}/import/map.json --out {out}"
    found = [
        *(cli("run/**/*", f"{verb} {{c}}/run") for verb in stages),
        *(cli("run/run.json", f"{verb} {{c}}/run") for verb in ("show", "report")),
        *(cli("run/**/manifest.json", f"{verb} {{c}}/run") for verb in ("report", "verify")),
        *(cli(f"run/{place}/*", f"show {{c}}/run/{place}") for place in ("train/examples", "detector")),
        *(cli(f"run/{place}/*", "publish {c}/run --out {out}") for place in ("evaluation", "detector")),
        cli("run/detector/*", "drift {c}/run {c}/run/detector"),
        cli("run/train/*/*", "audit report {c}/run --out {out}/a.html"),
        *(cli("set/*", command) for command in ("drift {c}/set {c}/set", "show {c}/set")),
        cli("set/*", "export {c}/set --model {c}/model --alpha 0 --format lora --out {out}"),
        *(cli("release/*", f"{verb} {{c}}/release") for verb in ("show", "verify", "drift {c}/release")),
        *(cli("recorded/*", f"audit {name} {{c}}/recorded") for name in ("effect", "parsing")),
        *(cli("recorded/*", f"{verb} {{c}}/recorded") for verb in ("show", "verify")),
        cli("recorded/*", "audit report {c}/recorded --out {out}/a.html"),
        *2 * [cli("import/*", import_table), cli("import/*", import_lines)],
        *3 * [cli("import/map.json", import_table)],
        model("*.json", lambda folder: open_stored(folder).identity()),
        model("*.safetensors", lambda folder: open_stored(folder).identity()),
        model("*", lambda folder: load_model(folder, device="cpu")),
        *(cli(f"answers/answers.{kind}", SCORE_FILE.replace("{kind}", kind)) for kind in ("jsonl", "csv")),
        cli("answers/scored/*", SCORE_FILE.format(c="{c}", kind="jsonl", out="{c}/answers/scored")),
        cli("answers/detector/*", SCORE_FILE.replace("{kind}", "csv")),
        *(cli("run/**/s*s/*", f"{verb} {{c}}/run") for verb in ("show", "evaluate", "report", "scores")),
        *2 * [Journey("interrupted/*", lambda corpus, out: _sample(corpus, answers=-1), "sample again")],
        Journey("release/*", lambda corpus, out: open_neurons(str(corpus / "release")), "open_neurons"),
    ]
    for name in ("train.jsonl", "test.jsonl.gz", "all.json", "table.csv"):

        def read(corpus: Path, out: Path, name: str = name) -> object:
            return load_questions(f"file:{corpus / 'questions' / name}")

        found += 2 * [Journey(f"questions/{name}", read, f"questions {name}")]
    return found


def main() -> None:
    """Fuzz and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", type=Path, help="a folder to keep the corpus in, or one that is there")
    chosen = parser.parse_args()
    from support.tiny_run import plant_judge

    plant_judge(pytest.MonkeyPatch())
    with tempfile.TemporaryDirectory() as folder:
        corpus = chosen.corpus or Path(folder) / "corpus"
        if not corpus.is_dir():
            corpus.mkdir(parents=True)
            make_corpus(corpus)
        faults = fuzz(corpus, journeys(), count=chosen.count, seed=chosen.seed)
    for fault in faults:
        print(
            f"seed {fault.seed}: {fault.journey}\n  {fault.change}\n  {fault.place}\n{fault.trace[-1500:]}\n",
            flush=True,
        )
    print(f"{chosen.count} changed files, {len(faults)} faults")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
