"""What is printed: stored text never commands the terminal, `show` says the result first, and names are guessed."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import hneurons.cli
from hneurons.cli import main
from hneurons.cli.app import app
from hneurons.cli.output import describe, make_console, print_tree
from hneurons.core.errors import InputError
from hneurons.core.types import ModelIdentity
from hneurons.core.wording import printable
from hneurons.detection.detector import Detector
from hneurons.releases.release import save_release
from hneurons.runs.plan import RunPlan

EVIL = "a\x1b]0;owned\x07[/x][bold]b\x9b31m\u202ec\ud800"
DETECTOR = Detector(
    ModelIdentity("owner/model", "llama", 3, 48, 32, "c0", "t0", "w0"), columns=np.array([3, 40, 100]),
    coef=np.array([2.0, -1.0, 0.5]), scale=np.ones(3), selection_probability=np.array([0.95, 0.4, 0.1]),
    intercept=0.0, threshold=0.1, settings={}, data={},
)  # fmt: skip


def test_stored_text_is_shown_as_it_is_and_commands_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    shown = "a\ufffd]0;owned\ufffd[/x][bold]b\ufffd31m\ufffdc\ufffd"
    assert printable(EVIL) == shown and printable("é\t東\n") == "é\t東\n"
    print_tree(EVIL, {EVIL: {EVIL: EVIL}, "list": [EVIL, {EVIL: 1}]})
    make_console().print(EVIL)
    out = capsys.readouterr().out
    assert not set(out) & set("\x1b\x07\x9b\u202e") and out.count("[/x][bold]b") >= 6


def test_an_error_that_quotes_stored_text_commands_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["hneurons", "list", "\x1b]0;x\x07"])
    with pytest.raises(SystemExit):
        main()
    assert "\x1b" not in capsys.readouterr().err


def test_the_version_is_printed_and_mistyped_names_are_guessed() -> None:
    from hneurons import __version__

    assert CliRunner().invoke(app, ["--version"]).output == f"hneurons {__version__}\n"
    assert "Did you mean 'evaluate'" in CliRunner().invoke(app, ["evalute"]).output
    for words, meant in (
        (["list", "judgs"], "unknown kind 'judgs', did you mean 'judges'? known are audits"),
        (["audit", "efect"], "unknown audit 'efect', did you mean 'effect'? known are effect"),
    ):
        assert meant in str(CliRunner().invoke(app, words).exception)


def test_the_old_name_of_scaling_is_read_with_a_hint(tmp_path: Path) -> None:
    for words, said in (
        (["--columns", "raw"], "is no run"),
        (["--columns", "raw", "--scaling", "standardized"], "contra"),
    ):
        done = CliRunner().invoke(app, ["fit", str(tmp_path), *words])
        assert "--columns is now called --scaling" in done.stderr
        assert isinstance(done.exception, InputError) and said in str(done.exception)


def test_show_tells_the_neurons_of_sets_detectors_and_releases_first(tmp_path: Path) -> None:
    DETECTOR.save(tmp_path / "detector")
    replace(DETECTOR.neuron_set(), selection_probability=np.full(2, np.nan)).save(tmp_path / "set")
    save_release(tmp_path / "release", DETECTOR, {})
    said = "2 H-neurons of owner/model, 1 stable (in at least 60% of half-samples)"
    assert describe(tmp_path / "detector")["result"] == {"neurons": said}
    assert next(iter(describe(tmp_path / "release").items())) == ("result", {"neurons": said})
    assert describe(tmp_path / "set")["result"] == {"neurons": "2 H-neurons of owner/model, stability unknown"}
    RunPlan(model="m", questions="facts").save(tmp_path / "run")
    assert describe(tmp_path / "run")["result"] == "nothing is evaluated yet"
    with pytest.raises(InputError, match="is neither a run, a stage, a release, an export nor a neuron set"):
        describe(tmp_path)


def test_show_tells_what_an_export_scales(tmp_path: Path) -> None:
    (tmp_path / "lora").mkdir()
    about = {"format": "lora", "alpha": 0.5, "neurons": [[0, 1], [1, 2]], "model": {"name": "m"}}
    (tmp_path / "lora" / "hneurons_export.json").write_text(json.dumps(about))
    (tmp_path / "m.gguf").write_bytes(b"")
    (tmp_path / "m.gguf.json").write_text(json.dumps({**about, "format": "gguf"}))
    assert describe(tmp_path / "lora")["result"] == "2 neurons at alpha 0.5 as lora"
    assert describe(tmp_path / "m.gguf")["result"] == "2 neurons at alpha 0.5 as gguf"


def test_ctrl_c_while_modules_are_read_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hneurons.cli._run", stop)
    with pytest.raises(SystemExit) as end:
        hneurons.cli.main()
    assert end.value.code == 130
    assert capsys.readouterr().err == "hneurons: stopped; run the same command again to resume\n"
