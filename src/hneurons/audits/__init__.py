"""Audits that any recorded run can be put through: what a result rests on, and what would fool its reader.

`AUDITS` maps a name to a function from runs to an `AuditResult`. No audit needs the model.
"""

from hneurons.audits.effect import audit_effect
from hneurons.audits.populations import audit_populations
from hneurons.audits.records import Run, load_run, make_run, save_run
from hneurons.audits.results import AUDITS, AuditResult, Figure, Finding, Series

__all__ = [
    "AUDITS",
    "AuditResult",
    "Figure",
    "Finding",
    "Run",
    "Series",
    "audit_effect",
    "audit_populations",
    "load_run",
    "make_run",
    "save_run",
]
