"""``recap value infer``: V(o_t) of a dataset's frames, without a server.

Whatever takes time to import is imported inside the command, so that help is instant.
"""

from enum import StrEnum
from typing import Annotated

import typer

from deployments.cli.options import JsonOption, NameOption


class Frames(StrEnum):
    """Which frames get a value."""

    all = "all"
    rollouts = "rollouts"


FramesOption = Annotated[
    Frames,
    typer.Option(help="all, or rollouts: demonstrations keep their labels and need no value."),
]
EmaOption = Annotated[
    bool, typer.Option("--ema/--no-ema", help="Use averaged parameters, where there are any.")
]


def infer(  # noqa: PLR0913 - one parameter per option
    value_model: Annotated[
        str, typer.Argument(metavar="VALUE", help="Value model: id, name-id8, or ref.")
    ],
    dataset: Annotated[str, typer.Argument(help="Dataset: id, name-id8, or ref.")],
    *,
    frames: FramesOption = Frames.rollouts,
    ema: EmaOption = True,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime", "-r", metavar="KEY=VALUE", help="How it runs, such as batch_size=128."
        ),
    ] = None,
    name: NameOption = None,
    json: JsonOption = False,
) -> None:
    """The value of every frame, stored once; labels are made from it in milliseconds.

    A killed run goes on after its finished shards.
    """
    from deployments.cli.artifact_arguments import artifact_of_kind, open_store, tell
    from deployments.cli.configuration import load_settings
    from recap_core.config.inference import InferRuntime
    from recap_core.config.stages import InferValuesConfig
    from recap_core.errors import ConfigError
    from recap_core.lineage.artifacts import AnyDataset, ValueCheckpoint
    from recap_core.progress import Terminal
    from recap_core.stages.infer_values import infer_values

    store = open_store()
    model = artifact_of_kind(store, value_model, ValueCheckpoint, wanted="a value model")
    inferred = artifact_of_kind(store, dataset, AnyDataset, wanted="a dataset")
    runs = load_settings(InferRuntime(), file=None, overrides=runtime or [])
    if runs.num_workers > 1:
        raise ConfigError(
            "several workers need a flow: set runtime.infer.num_workers in recap.yaml and run "
            "recap iterate, or leave it out here"
        )
    values = infer_values(
        inferred,
        model,
        InferValuesConfig(use_ema=ema, frames=frames.value),
        runs,
        name=name or inferred.name,
        store=store,
        progress=Terminal(),
    )
    metrics = store.manifest(values).metrics
    num_values = values.num_frames - values.num_missing
    span = f"{metrics['min']:.3f} to {metrics['max']:.3f}, mean {metrics['mean']:.3f}"
    lines = [f"{num_values:,} of {values.num_frames:,} frames, V from {span}"]
    if metrics.get("frames_per_s") is not None:
        lines.append(
            f"{metrics['frames_per_s']:,.0f} frames/s in batches of {metrics['batch_size']:.0f}; "
            f"{metrics['fetch_share']:.0%} of the time waiting for images, "
            f"{metrics['device_share']:.0%} for the device"
        )
    tell(values, store, json=json, lines=lines)
