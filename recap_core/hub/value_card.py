"""The card of a value model."""

from recap_core.hub.card_parts import (
    CardOptions,
    annotations_part,
    making_part,
    measures_part,
    missing_limits,
    recordings_part,
    value_model_line,
)
from recap_core.hub.markdown import bullets, code, page, plain
from recap_core.lineage.artifacts import ValueCheckpoint
from recap_core.lineage.snapshot import Snapshot
from recap_core.reports.numbers import count
from recap_core.stages.trace import trace, traced_value_model


def value_card(snapshot: Snapshot, model: ValueCheckpoint, options: CardOptions) -> str:
    """``README.md`` of a value model.

    Args:
        snapshot: The store that it is in.
        model: Its content verified.
        options: What lineage cannot know.
    """
    from huggingface_hub import ModelCardData

    origin = trace(snapshot, model, "back").origin
    assert origin is not None  # noqa: S101 - the way back was asked for
    traced = traced_value_model(snapshot, model)
    front = ModelCardData(
        license=options.license,
        pipeline_tag="robotics",
        tags=["robotics", "recap", "value-function"],
    )
    limits = missing_limits(origin)
    if not model.healthy:
        limits.append("It did not pass the health gate: do not label with it unexamined.")
    limits.append("It knows the cameras, tasks and episode lengths that it was trained on only.")
    return f"---\n{front.to_yaml()}\n---\n\n" + page(
        plain(model.name),
        [
            ("", _summary(model)),
            ("Use it", _usage(options)),
            ("Health", f"{value_model_line(traced)}\n\n{measures_part(traced.metrics)}".strip()),
            (
                "What it learned from",
                "\n\n".join(
                    part
                    for part in (
                        recordings_part(origin.recordings, options),
                        annotations_part(origin.annotations),
                    )
                    if part
                ),
            ),
            ("How it was made", making_part(snapshot.store.manifest(model), origin)),
            ("Limits", bullets(limits)),
        ],
    )


def _summary(model: ValueCheckpoint) -> str:
    return (
        f"A value model of RECAP, {count(model.num_params)} parameters: from camera images, state "
        "and task it predicts how an episode will go on from there, as a distribution of returns "
        "from -1 (failure, or far from the goal) to 0 (done). Frames are labelled by how much "
        "better than that an action turned out."
    )


def _usage(options: CardOptions) -> str:
    text = f"""
hf download {options.repo} --local-dir {options.directory}
recap value import {options.directory}/ema_params
"""
    return (
        f"{code(text, 'sh')}\n\n`params/` and `ema_params/` (averaged, what values are inferred "
        "with) are Orbax trees. `value.json` says of what model: where it is none of the presets, "
        "give its sizes with `--config`."
    )
