"""``recap doctor train``: whether a training can run, before it takes hours of an accelerator."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.doctor_answer import Examined, answer
from deployments.cli.doctor_command import doctor
from deployments.cli.options import JsonOption
from deployments.cli.training_commands import (
    ConfigOption,
    DatasetArgument,
    RuntimeOption,
    SettingOption,
    SizeOption,
    StartOption,
)
from deployments.cli.value_train import FileOption, ValueSizeOption, ValueStartOption

if TYPE_CHECKING:
    from recap_core.stages.training_needs import Machine


DevicesOption = Annotated[
    int | None, typer.Option(min=1, help="Devices of the machine. Default: this machine's.")
]
DeviceMemoryOption = Annotated[
    float | None, typer.Option(min=0.1, help="Memory of each. Default: this machine's.")
]


@doctor.command(
    epilog="Example: recap doctor train demo/sim-aloha/demonstrations --preset single_gpu "
    "--devices 1 --device-gb 24"
)
def train(  # noqa: PLR0913 - one parameter per option
    dataset: DatasetArgument,
    *,
    start: StartOption = None,
    config: ConfigOption = None,
    preset: SizeOption = None,
    settings: SettingOption = None,
    runtime: RuntimeOption = None,
    devices: DevicesOption = None,
    device_gb: DeviceMemoryOption = None,
    json: JsonOption = False,
) -> None:
    """Check a training: memory, disk, columns, labels, prompts, start; exit code 1 on errors."""
    from deployments.cli.artifact_arguments import artifact_of_kind, open_store
    from deployments.cli.configuration import load_settings
    from deployments.cli.train_settings import check_one_policy, starting_policy, train_settings
    from recap_core.config.training import TrainRuntime
    from recap_core.data.frames import read_frames
    from recap_core.lineage.artifacts import AnyDataset
    from recap_core.stages.check_training import check_training

    store = open_store()
    data = artifact_of_kind(store, dataset, AnyDataset, wanted="a dataset")
    size = None if preset is None else preset.value
    check_one_policy(config, size)
    policy = starting_policy(start, config, store=store)
    found = check_training(
        read_frames(store.path(data)),
        train_settings(config, size, settings or [], store=store, start=policy),
        load_settings(TrainRuntime(), file=None, overrides=runtime or []),
        _machine(store.home, devices, device_gb),
        start=None if policy is None else store.path(policy),
    )
    answer(found, _examined(f"{data.name}-{data.id[:8]}"), json=json)


def _machine(home: Path, devices: int | None, device_gb: float | None) -> "Machine":
    """This machine, as far as the options do not say otherwise."""
    # The doctor only asks; a training beside it keeps its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    from recap_core.config.environment import weights_dir
    from recap_core.stages.training_needs import Machine

    device_bytes = None if device_gb is None else int(device_gb * 1e9)
    if device_bytes is None:
        device_bytes = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    return Machine(
        num_devices=devices or len(jax.devices()),
        device_bytes=device_bytes,
        host_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        home=home,
        weights_dir=weights_dir(),
    )


def _examined(dataset: str) -> Examined:
    return Examined(f"Training on {dataset}", {"dataset": dataset}, "can_train")


@doctor.command(
    epilog="Example: recap doctor value demo/sim-aloha/round-1-relabeled --preset single_gpu "
    "--devices 1 --device-gb 24"
)
def value(  # noqa: PLR0913 - one parameter per option
    dataset: DatasetArgument,
    *,
    start: ValueStartOption = None,
    config: FileOption = None,
    preset: ValueSizeOption = None,
    settings: SettingOption = None,
    runtime: RuntimeOption = None,
    devices: DevicesOption = None,
    device_gb: DeviceMemoryOption = None,
    json: JsonOption = False,
) -> None:
    """Check a training of the value model: memory, disk, outcomes, split, prompts, start."""
    from deployments.cli.artifact_arguments import artifact_of_kind, open_store
    from deployments.cli.configuration import load_settings
    from deployments.cli.value_settings import (
        named_value_start,
        needed_value_start,
        value_settings,
    )
    from recap_core.config.training import TrainRuntime
    from recap_core.data.frames import read_frames
    from recap_core.errors import ArtifactNotFoundError
    from recap_core.lineage.artifacts import AnyDataset
    from recap_core.stages.check_value_training import check_value_training

    store = open_store()
    data = artifact_of_kind(store, dataset, AnyDataset, wanted="a dataset")
    begin = named_value_start(start, store=store)
    size = None if preset is None else preset.value
    chosen = value_settings(config, size, settings or [], store=store, start=begin)
    with suppress(ArtifactNotFoundError):  # a finding, beside all others
        begin = begin or needed_value_start(chosen, store=store)
    found = check_value_training(
        read_frames(store.path(data)),
        chosen,
        load_settings(TrainRuntime(), file=None, overrides=runtime or []),
        _machine(store.home, devices, device_gb),
        start=None if begin is None else store.path(begin),
        unfilled=() if begin is None else begin.fresh_leaves,
    )
    answer(found, _examined(f"{data.name}-{data.id[:8]}"), json=json)
