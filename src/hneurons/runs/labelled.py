"""Labelled answers for a detector that somebody names: of a test set of its run, or of a file."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from hneurons.answers.judging import label_responses
from hneurons.answers.questions.recorded import group_by_text, read_recorded
from hneurons.core.errors import InputError
from hneurons.core.files import file_hash
from hneurons.core.types import Question, Response, Verdict
from hneurons.detection.decisions.labelled import LabelledScores
from hneurons.detection.decisions.scoring import Drawn, first_answers, score_labelled
from hneurons.detection.detector import Detector
from hneurons.models.endpoint import Endpoint
from hneurons.models.language_model import LanguageModel
from hneurons.neurons.opening import find_neurons
from hneurons.runs.detectors import open_for_answers, with_fitted_on
from hneurons.runs.folder import RunFolder
from hneurons.runs.plan import TRAIN

DECISIONS = "decisions"
"""Folder beside a detector with the log odds of labelled answers."""


class Labelled(NamedTuple):
    """Labelled scores, the detector that gave them, the folder it lies in, and the questions of the scores."""

    scores: LabelledScores
    detector: Detector
    folder: Path
    questions: Sequence[Question]


class _Asked(NamedTuple):
    questions: Sequence[Question]
    responses: Sequence[Response]
    verdicts: dict[str, Verdict]


def label_and_score(
    source: str | Path,
    data: str | None = None,
    *,
    load: Callable[[str, str], LanguageModel],
    model: str | None = None,
    endpoint: Endpoint | None = None,
    batch_size: int = 16,
) -> Labelled:
    """The log odds of labelled answers by the detector that `source` names, kept beside it.

    `data` is a test set of the run (by default the first), or a file of recorded answers with verdicts or with answers
    to judge them by. `load` takes the model's name and number type. It is called only where log odds are not there yet.
    Questions that the detector was fitted on, or that its run trained on, are left out and counted.

    Raises what `open_for_answers`, `read_recorded` and `score_labelled` raise, and `InputError` for data that is not
    there or a detector that lies in no local folder.
    """
    if not Path(source).expanduser().is_dir():
        raise InputError(f"what is learned here is kept beside the detector: give a local folder, not '{source}'")
    opened, found = open_for_answers(source), find_neurons(source)
    run = None if found.run is None else RunFolder(found.run)
    tests = [] if run is None else [name for name in run.datasets() if name != TRAIN]
    if data == TRAIN and run is not None:
        raise InputError("the detector was fitted on 'train': give --data another set of answers")
    name = data or next(iter(tests), "")
    if not name:
        raise InputError("a detector without its run has no answers of its own: give --data FILE with labelled answers")
    if name not in tests and not Path(name).is_file():
        raise InputError(
            f"'{name}' is neither a file nor a test set of the run ({', '.join(tests) or 'which is not here'}): give "
            "--data one of these, or a file of labelled answers"
        )
    if run is not None and name in tests:
        place, shown = found.folder / DECISIONS / name, name
        asked = _of_run(run, name)
    else:
        path = Path(name)
        place, shown = found.folder / DECISIONS / f"{path.name.split('.')[0]}-{file_hash(path)}", path.name
        asked = _of_file(path)
    detector = with_fitted_on(opened.detector, source)
    drawn = _unseen(first_answers(*asked), detector)
    if not (model or opened.model):
        raise InputError(f"{source} does not say which model it belongs to: add --model")
    scores = score_labelled(
        drawn,
        detector,
        lambda: load(model or opened.model, opened.dtype),
        name=shown,
        style=opened.style,
        finder=opened.finder,
        endpoint=endpoint,
        batch_size=batch_size,
        out=place,
    )
    return Labelled(scores, detector, found.folder, [question for question, _, _ in drawn.answers])


def _of_run(run: RunFolder, name: str) -> _Asked:
    verdicts = {judgement.id: judgement.verdict for judgement in run.load_judgements(name)}
    return _Asked(run.load_questions(name), run.load_responses(name), verdicts)


def _of_file(path: Path) -> _Asked:
    answers = read_recorded([path])
    questions = group_by_text({answer.question.id: answer.question for answer in answers}.values())
    responses = [answer.response for answer in answers]
    given = {answer.response.id: answer.verdict for answer in answers if answer.verdict is not None}
    judged = label_responses(questions, responses, given=given).judgements
    return _Asked(questions, responses, {judgement.id: judgement.verdict for judgement in judged})


def _unseen(drawn: Drawn, detector: Detector) -> Drawn:
    kept = [answer for answer in drawn.answers if not detector.has_seen(answer[0])]
    left_out = Counter(drawn.left_out)
    left_out["trained on"] += len(drawn.answers) - len(kept)
    return Drawn(kept, {reason: number for reason, number in left_out.items() if number})
