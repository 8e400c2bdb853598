"""The sections of a run's page: one file here and its template each. A new file is found by itself."""

import pkgutil
from importlib import import_module

from hneurons.report.sections.section import RunPage, Section

__all__ = ["RunPage", "Section", "run_sections"]


def run_sections() -> list[Section]:
    """Every section, in the order of the page: the value `SECTION` of each module of this package that has one."""
    modules = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    found = [module.SECTION for module in modules if hasattr(module, "SECTION")]
    return sorted(found, key=lambda section: (section.place, section.name))
