"""What would stop a training, or waste it, found before hours of accelerator time (DESIGN §7)."""

from collections.abc import Generator
from pathlib import Path

import numpy as np

from recap_core.config.stages import TrainPolicyConfig
from recap_core.config.training import TrainRuntime
from recap_core.data.checks.finding import Finding, from_error
from recap_core.data.columns import ADV_IND
from recap_core.data.frames import FrameTable
from recap_core.data.norm_stats import check_robot_dimensions
from recap_core.errors import ConfigError, RecapError
from recap_core.models.tokenizer import PromptTokenizer
from recap_core.stages.training_needs import (
    GB,
    Machine,
    check_memory,
    disk_too_small,
    errors_first,
    finding,
    train_state_bytes,
)
from recap_core.training.memory import MemoryEstimate, estimate_memory

_MAX_MICRO_BATCHES = 64


def check_training(
    table: FrameTable,
    config: TrainPolicyConfig,
    runtime: TrainRuntime,
    machine: Machine,
    *,
    start: Path | None = None,
) -> list[Finding]:
    """Everything that can be known without training a step; nothing is written.

    Args:
        table: The dataset.
        config: What would be trained.
        runtime: How.
        machine: Where.
        start: Directory of the policy to start from.

    Returns:
        Findings, errors first; the first note is the memory estimate.
    """
    findings = [
        *_memory(config, runtime, machine),
        *_disk(table, config, runtime, machine),
        *_columns(table, config),
        *_labels(table, config),
        *_prompts(table, config, machine),
        *([] if start is None else _start(start, config)),
    ]
    return errors_first(findings)


def _memory(
    config: TrainPolicyConfig, runtime: TrainRuntime, machine: Machine
) -> Generator[Finding]:
    """Devices divide the batch, and what they and the host must hold fits."""
    yield from check_memory(
        config.train.batch_size,
        runtime,
        machine,
        estimate=lambda: estimate_memory(
            config.policy, config.train, runtime, num_devices=machine.num_devices
        ),
        where="each device",
        smaller=lambda: _what_fits(config, runtime, machine),
        smaller_host="train LoRA adapters (--preset single_gpu), or on a machine with more memory",
    )


def _what_fits(config: TrainPolicyConfig, runtime: TrainRuntime, machine: Machine) -> str:
    """The smallest change of runtime settings after which the training fits."""

    def needs(changed: TrainRuntime) -> MemoryEstimate:
        return estimate_memory(
            config.policy, config.train, changed, num_devices=machine.num_devices
        )

    shards = [n for n in range(1, machine.num_devices + 1) if machine.num_devices % n == 0]
    for fsdp_devices in [n for n in shards if n >= runtime.fsdp_devices]:
        micro_batches = runtime.micro_batches
        while config.train.batch_size % (machine.num_devices * micro_batches) == 0:
            changes = {"fsdp_devices": fsdp_devices, "micro_batches": micro_batches}
            estimate = needs(runtime.model_copy(update=changes))
            if estimate.device <= (machine.device_bytes or 0):
                options = " ".join(f"-r {name}={value}" for name, value in changes.items())
                return f"use {options} ({estimate.device / GB:.1f} GB)"
            if micro_batches >= _MAX_MICRO_BATCHES:
                break
            micro_batches *= 2
    return "train LoRA adapters (--preset single_gpu), or on more or larger devices"


def _disk(
    table: FrameTable, config: TrainPolicyConfig, runtime: TrainRuntime, machine: Machine
) -> Generator[Finding]:
    """Checkpoints, the published policy and decoded images have room."""
    whole = estimate_memory(config.policy, config.train, TrainRuntime(), num_devices=1)
    wanted = train_state_bytes(whole) + whole.params + whole.frozen_params
    model, views = config.policy.model, config.policy.embodiment.views
    num_cameras = sum(view in views for view in model.views)
    images = table.num_frames * num_cameras * 3 * model.image_px**2
    if runtime.images == "decode":
        images = 0
    free = machine.free_bytes
    value = (
        f"{wanted / GB:.1f} GB of checkpoints, {images / GB:.1f} GB of decoded images; "
        f"{free / GB:.1f} GB are free"
    )
    if wanted > free:
        yield disk_too_small(machine, value)
    elif images and wanted + images > 0.8 * free and config.train.sampling.order != "blocks":
        yield finding(
            "warning", "disk", str(machine.home), value,
            "images that are not kept are decoded again and again",
            "set train.sampling.order=blocks, or free some disk space",
        )  # fmt: skip
    else:
        yield finding("note", "disk", str(machine.home), value, "both fit", "")


def _columns(table: FrameTable, config: TrainPolicyConfig) -> Generator[Finding]:
    """State, action and cameras of the embodiment are in the dataset and fit the model."""
    features, embodiment, model = table.meta.features, config.policy.embodiment, config.policy.model
    cameras = {view: embodiment.views.get(view) for view in model.views}
    wanted = {
        **dict.fromkeys(embodiment.state, "embodiment.state"),
        embodiment.action: "embodiment.action",
        **{name: f"embodiment.views.{view}" for view, name in cameras.items() if name},
    }
    missing = {name: setting for name, setting in wanted.items() if name not in features}
    if missing:
        yield finding(
            "error", "columns", ", ".join(missing), f"the dataset has {', '.join(features)}",
            f"{', '.join(missing.values())} name them",
            "correct the embodiment (recap configs robot), or convert the data again",
        )  # fmt: skip
    if all(name in features for name in (*embodiment.state, embodiment.action)):
        try:
            check_robot_dimensions(table.meta, embodiment)
        except RecapError as error:
            yield from_error(error, check="columns")
    for view, name in cameras.items():
        if name is None:
            is_base = view == "base_0_rgb"
            yield finding(
                "error" if is_base else "note", "columns", view, "no camera",
                "the model always sees this view" if is_base else "it is black and masked",
                f"name a camera in embodiment.views.{view}" if is_base else "",
            )  # fmt: skip


def _labels(table: FrameTable, config: TrainPolicyConfig) -> Generator[Finding]:
    """Both outcomes are there, and ``adv_ind`` says something."""
    num_success = int(table.success.sum())
    if config.condition is None and num_success in (0, len(table.success)):
        outcome = "failed" if not num_success else "succeeded"
        yield finding(
            "warning", "outcomes", "episodes", f"all {len(table.success)} {outcome}",
            "a policy learns the difference between good and bad from both",
            "add rollouts of the missing kind, or check the operators' marks",
        )  # fmt: skip
    if config.condition is not None or not config.policy.prompt.advantage:
        return
    column = table.column(ADV_IND)
    counts = {
        str(name): int(n) for name, n in zip(*np.unique(column, return_counts=True), strict=True)
    }
    shares = ", ".join(f"{n / len(column):.1%} {name}" for name, n in counts.items())
    if len(counts) == 1:
        yield finding(
            "error", "labels", ADV_IND, f"every frame is {next(iter(counts))!r}",
            "the prompt's advantage clause then tells the policy nothing",
            "relabel the dataset (stage 5), record corrections, or train as recap sft does, with "
            "condition=positive",
        )  # fmt: skip
        return
    dropout = f"{config.policy.prompt.advantage_dropout:.0%} of the prompts are without it"
    yield finding("note", "labels", ADV_IND, shares, dropout, "")


def _prompts(table: FrameTable, config: TrainPolicyConfig, machine: Machine) -> Generator[Finding]:
    """The longest prompt of every task fits, its advantage clause above all."""
    policy = config.policy
    try:
        tokenizer = PromptTokenizer(
            policy.prompt,
            policy.model.max_token_len,
            policy.model.state_input,
            weights_dir=machine.weights_dir,
        )
    except RecapError as error:
        value, _, fix = str(error).partition(". ")
        yield finding(
            "error", "tokenizer", policy.prompt.tokenizer, value, "prompts become tokens", fix
        )
        return
    features = table.meta.features
    names = [name for name in policy.embodiment.state if name in features]
    state = np.ones(sum(features[name]["shape"][0] for name in names))  # bin 255: most digits
    tasks = table.tasks if policy.embodiment.default_prompt is None else ()
    for task in tasks or (policy.embodiment.default_prompt or "",):
        adv_ind = "positive" if policy.prompt.advantage else None
        try:
            tokenizer.encode(task, state if tokenizer.writes_state else None, adv_ind)
        except ConfigError as error:
            yield from_error(error, check="prompts")


def _start(start: Path, config: TrainPolicyConfig) -> Generator[Finding]:
    """The start is of the configured architecture."""
    import jax

    from recap_core.checkpoints.locate import locate_checkpoint
    from recap_core.checkpoints.start import check_start
    from recap_core.models.policy import Policy

    model = config.policy.model
    try:
        shapes = jax.eval_shape(Policy(model).init, jax.random.key(0))
        fresh = check_start(locate_checkpoint(start).params, model, shapes)
    except RecapError as error:
        yield from_error(error, check="start")
        return
    if fresh:
        yield finding(
            "note",
            "start",
            str(start),
            f"{len(fresh)} LoRA leaves start fresh",
            "the start has none",
            "nothing",
        )
