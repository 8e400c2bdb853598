"""Audits that any recorded run can be put through: what a result rests on, and what would fool its reader.

`AUDITS` maps a name to a function from runs to an `AuditResult`. No audit needs the model. A file here that registers
one is enough.
"""

from hneurons.audits.effect import audit_effect
from hneurons.audits.geometry import audit_geometry
from hneurons.audits.leakage import audit_leakage
from hneurons.audits.parsing import audit_parsing
from hneurons.audits.penalty_path import audit_stability
from hneurons.audits.populations import audit_populations
from hneurons.audits.results import AUDITS, AuditResult, Figure, Finding, Series
from hneurons.audits.severity import audit_severity
from hneurons.audits.side_effects import audit_side_effects
from hneurons.audits.truncation import audit_truncation
from hneurons.core.registry import import_modules
from hneurons.records.importing import Mapping, import_run
from hneurons.records.recorded_run import Run, load_run, make_run, save_run

__all__ = [
    "AUDITS",
    "AuditResult",
    "Figure",
    "Finding",
    "Mapping",
    "Run",
    "Series",
    "audit_effect",
    "audit_geometry",
    "audit_leakage",
    "audit_parsing",
    "audit_populations",
    "audit_severity",
    "audit_side_effects",
    "audit_stability",
    "audit_truncation",
    "import_run",
    "load_run",
    "make_run",
    "save_run",
]

import_modules(__name__, __path__)
