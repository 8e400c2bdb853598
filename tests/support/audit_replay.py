"""The recorded runs that the audits are proved on, imported by the maps in docs/maps."""

from functools import cache

from hneurons.audits import Mapping, Run, import_run
from support.places import REPLAY, ROOT

MAPS = ROOT / "docs" / "maps"
RUNS = {
    "faitheval": ("faitheval/anti_compliance_choices.csv.gz", "faitheval_choices", ""),
    "faitheval_texts": ("faitheval/anti_compliance_h_neuron_responses.jsonl.gz", "faitheval_responses", ""),
    "faitheval_standard": (
        "faitheval/standard_prompt_responses.jsonl.gz",
        "faitheval_responses",
        "../data/faitheval_counterfactual.jsonl.gz",
    ),
    "faitheval_bare": ("faitheval/standard_prompt_responses.jsonl.gz", "faitheval_responses", ""),
    "faitheval_remap": ("faitheval/standard_alpha3_remap.jsonl.gz", "faitheval_remap", ""),
    "falseqa": ("falseqa/labels.csv.gz", "falseqa_labels", ""),
    "bioasq": ("bioasq/labels.csv.gz", "bioasq_labels", ""),
    "bioasq_texts": ("bioasq/h_neuron_responses.jsonl.gz", "bioasq_responses", ""),
    "jailbreak_256": ("jailbreak/binary_256tok.csv.gz", "jailbreak_256", ""),
    "jailbreak_5000": ("jailbreak/binary_5000tok.csv.gz", "jailbreak_5000", ""),
    "csv2v2": ("jailbreak/graded_csv2_v2.jsonl.gz", "jailbreak_csv2_v2", ""),
    "csv2v3": ("jailbreak/graded_csv2_v3.jsonl.gz", "jailbreak_csv2_v3", ""),
    "gold": ("jailbreak/gold_evaluator_labels.csv", "jailbreak_gold", ""),
    "disjoint": ("classifier/predictions_disjoint.csv", "predictions", ""),
    "overlap": ("classifier/predictions_overlap.csv", "predictions", ""),
    "sae": ("classifier/predictions_sae.csv", "predictions", ""),
    "transfer": ("classifier/predictions_bioasq_transfer.csv", "predictions", ""),
    "c_sweep": ("classifier/c_sweep_as_reported.csv", "c_sweep", ""),
    "h_neurons": ("classifier/h_neurons.csv", "h_neurons", ""),
    "verbosity": ("classifier/verbosity_per_neuron.csv", "verbosity", ""),
    "heads": ("iti/head_rankings_top32.csv", "head_rankings", ""),
    "calibration": ("iti/calibration_sweep_n81.csv", "iti_calibration", ""),
    "mc1_iti": ("iti/truthfulqa_mc_scores.jsonl.gz", "truthfulqa_mc1_iti", "iti/truthfulqa_runs.csv"),
    "mc2_iti": ("iti/truthfulqa_mc_scores.jsonl.gz", "truthfulqa_mc2_iti", "iti/truthfulqa_runs.csv"),
    "mc1_h_neurons": ("iti/truthfulqa_mc_scores.jsonl.gz", "truthfulqa_mc1_h_neurons", "iti/truthfulqa_runs.csv"),
    "mc1_scopes": ("iti/truthfulqa_mc_scores.jsonl.gz", "truthfulqa_mc1_scopes", "iti/truthfulqa_runs.csv"),
    "simpleqa": ("simpleqa/grades.jsonl.gz", "simpleqa", "simpleqa/runs.csv"),
    "simpleqa_escape": ("simpleqa/grades.jsonl.gz", "simpleqa_escape_hatch", "simpleqa/runs.csv"),
    "bridge": ("triviaqa_bridge/test_grades.csv.gz", "triviaqa_bridge", ""),
    "directions": ("directions/faitheval_direction_ablation.csv.gz", "direction_ablation", ""),
    "truth_direction": ("directions/mean_difference_per_layer.csv", "truth_direction", ""),
    "layers": ("refusal/layer_scores.csv", "layer_overlap", ""),
    "items": ("refusal/prompt_scores.csv.gz", "item_overlap", ""),
    "null": ("refusal/null_distribution.json.gz", "null_overlap", ""),
}  # fmt: skip


@cache
def replay(name: str) -> Run:
    source, mapping, items = RUNS[name]
    return import_run(
        REPLAY / source, Mapping.load(MAPS / f"{mapping}.json"), items=REPLAY / items if items else None, name=name
    )
