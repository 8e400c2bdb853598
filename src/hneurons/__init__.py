"""Find, measure, steer and audit hallucination neurons in open-weight language models."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hneurons.answers.judges.alias import judge_alias
    from hneurons.answers.judging import label_responses
    from hneurons.answers.locating import locate_answers
    from hneurons.answers.questions import load_questions
    from hneurons.answers.questions.few_shot import few_shot_examples
    from hneurons.answers.responses import sample_endpoint, sample_responses
    from hneurons.answers.selection import select_examples
    from hneurons.core.errors import HNeuronsError
    from hneurons.core.progress import enable_progress
    from hneurons.core.types import Example, Judgement, Question, Response
    from hneurons.detection.answer_rows import Dataset
    from hneurons.detection.assessing import assess_answers
    from hneurons.detection.assessment import Answer
    from hneurons.detection.decisions.deciding import load_decisions
    from hneurons.detection.decisions.policy import decide, load_policy
    from hneurons.detection.detector import Detector, open_detector
    from hneurons.detection.evaluation import evaluate_detector
    from hneurons.detection.fitting import fit_detector
    from hneurons.detection.scores import Scores, score_answers
    from hneurons.detection.transfer import transfer_detector
    from hneurons.interventions.export import Export, export_neurons
    from hneurons.mechanism.drift_ranks import rank_drift
    from hneurons.mechanism.set_overlap import compare_sets
    from hneurons.mechanism.weight_drift import measure_drift
    from hneurons.models.endpoint import Endpoint
    from hneurons.models.language_model import LanguageModel, load_model
    from hneurons.models.prompts import PromptStyle
    from hneurons.models.sampling import Sampling
    from hneurons.neurons.contributions import Contributions, measure_contributions
    from hneurons.neurons.neuron_set import NeuronSet
    from hneurons.releases.release import Release, load_release, push_release, save_release
    from hneurons.runs.folder import RunFolder
    from hneurons.runs.origin import measure_origin
    from hneurons.runs.plan import RunPlan
    from hneurons.runs.run import Run

__version__ = "0.1.0"

# Loaded on first use, so that importing the package costs nothing.
_HOMES = {
    "Answer": "detection.assessment",
    "Contributions": "neurons.contributions",
    "Dataset": "detection.answer_rows",
    "Detector": "detection.detector",
    "Endpoint": "models.endpoint",
    "Example": "core.types",
    "Export": "interventions.export",
    "HNeuronsError": "core.errors",
    "Judgement": "core.types",
    "LanguageModel": "models.language_model",
    "NeuronSet": "neurons.neuron_set",
    "PromptStyle": "models.prompts",
    "Question": "core.types",
    "Release": "releases.release",
    "Response": "core.types",
    "Run": "runs.run",
    "RunFolder": "runs.folder",
    "RunPlan": "runs.plan",
    "Sampling": "models.sampling",
    "Scores": "detection.scores",
    "assess_answers": "detection.assessing",
    "compare_sets": "mechanism.set_overlap",
    "decide": "detection.decisions.policy",
    "enable_progress": "core.progress",
    "evaluate_detector": "detection.evaluation",
    "export_neurons": "interventions.export",
    "few_shot_examples": "answers.questions.few_shot",
    "fit_detector": "detection.fitting",
    "judge_alias": "answers.judges.alias",
    "label_responses": "answers.judging",
    "load_decisions": "detection.decisions.deciding",
    "load_model": "models.language_model",
    "load_policy": "detection.decisions.policy",
    "load_questions": "answers.questions",
    "load_release": "releases.release",
    "locate_answers": "answers.locating",
    "measure_contributions": "neurons.contributions",
    "measure_drift": "mechanism.weight_drift",
    "measure_origin": "runs.origin",
    "open_detector": "detection.detector",
    "push_release": "releases.release",
    "rank_drift": "mechanism.drift_ranks",
    "sample_endpoint": "answers.responses",
    "sample_responses": "answers.responses",
    "save_release": "releases.release",
    "score_answers": "detection.scores",
    "select_examples": "answers.selection",
    "transfer_detector": "detection.transfer",
}

__all__ = [
    "Answer",
    "Contributions",
    "Dataset",
    "Detector",
    "Endpoint",
    "Example",
    "Export",
    "HNeuronsError",
    "Judgement",
    "LanguageModel",
    "NeuronSet",
    "PromptStyle",
    "Question",
    "Release",
    "Response",
    "Run",
    "RunFolder",
    "RunPlan",
    "Sampling",
    "Scores",
    "assess_answers",
    "compare_sets",
    "decide",
    "enable_progress",
    "evaluate_detector",
    "export_neurons",
    "few_shot_examples",
    "fit_detector",
    "judge_alias",
    "label_responses",
    "load_decisions",
    "load_model",
    "load_policy",
    "load_questions",
    "load_release",
    "locate_answers",
    "measure_contributions",
    "measure_drift",
    "measure_origin",
    "open_detector",
    "push_release",
    "rank_drift",
    "sample_endpoint",
    "sample_responses",
    "save_release",
    "score_answers",
    "select_examples",
    "transfer_detector",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hneurons' has no attribute '{name}'")
    return getattr(import_module(f"hneurons.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
