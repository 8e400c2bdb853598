"""The options of a command that starts a run: one for each field of its plan."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from hneurons.runs.plan import RunPlan


def plan_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes `plan` one option for each field of `RunPlan`, with its default and help."""
    own = [p for p in inspect.signature(command).parameters.values() if p.name != "plan"]
    hints = get_type_hints(RunPlan)
    options = []
    for item in (one for one in fields(RunPlan) if one.metadata["help"]):
        hint: Any = list[str] if item.name == "tests" else hints[item.name]
        flag = [item.metadata["flag"]] if item.metadata["flag"] else []
        default = inspect.Parameter.empty if item.default is MISSING else item.default
        annotation = Annotated[hint, typer.Option(*flag, help=item.metadata["help"])]
        options.append(
            inspect.Parameter(
                item.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=list(default) if isinstance(default, tuple) else default,
                annotation=annotation,
            )
        )

    def with_plan(**values: Any) -> None:
        planned = {o.name: values.pop(o.name) for o in options}
        command(plan=RunPlan(**{**planned, "tests": tuple(planned["tests"])}), **values)

    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    required = [p for p in [*options, *parameters] if p.default is inspect.Parameter.empty]
    optional = [p for p in [*options, *parameters] if p.default is not inspect.Parameter.empty]
    with_plan.__signature__ = inspect.Signature([*required, *optional])  # type: ignore[attr-defined]
    with_plan.__annotations__ = {p.name: p.annotation for p in [*options, *parameters]}
    with_plan.__name__, with_plan.__doc__ = command.__name__, command.__doc__
    return with_plan


def with_recorded(plan: RunPlan, responses: Path | None) -> RunPlan:
    """The plan that asks what was asked in a file of recorded answers. Raises `InputError` with `--questions`, too."""
    from hneurons.answers.questions.recorded import RECORDED
    from hneurons.core.errors import InputError

    if responses is None:
        return plan
    if plan.questions:
        raise InputError("--questions and --responses exclude each other: the recorded answers bring their questions")
    return replace(plan, questions=f"{RECORDED}:{responses}")


def given_options(context: typer.Context) -> set[str]:
    """The options that the command line names, as parameters of the command that runs."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
