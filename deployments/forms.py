"""The form of a deployment: the parameters that a server accepts for its runs, and no others."""

from importlib import import_module
from typing import Any

from prefect import Flow
from prefect.utilities.callables import ParameterSchema, parameter_schema


class ClosedForm(ParameterSchema):
    """Parameters of a flow, and no others."""

    additionalProperties: bool = False  # noqa: N815 - as JSON schema spells it


def closed_form(flow: Flow[..., Any]) -> ClosedForm:
    """The form of a flow, with which the server refuses a parameter that the flow does not have.

    The groups of fields refuse unknown fields by themselves (:class:`flows.forms.Choice`), but the
    form of the whole, as Prefect makes it, does not: a run with one would end as Crashed, with the
    reason in the log of its runner or worker only.
    """
    form = ClosedForm(**parameter_schema(flow).model_dump())
    # Whoever sends only what is set sends this as well.
    form.model_fields_set.add("additionalProperties")
    return form


def flow_at(entrypoint: str) -> Flow[..., Any] | None:
    """The flow that ``module.function`` names; None if there is none any more."""
    module, _, name = entrypoint.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return None
    return found if isinstance(found, Flow) else None
