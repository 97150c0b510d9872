"""What would stop a training of the value model, or waste it, found before it starts."""

from collections.abc import Collection, Generator
from pathlib import Path

import numpy as np

from recap_core.config.stages import TrainValueConfig
from recap_core.config.training import TrainRuntime
from recap_core.data.batches import split_episodes
from recap_core.data.checks.finding import Finding, from_error
from recap_core.data.frames import FrameTable
from recap_core.errors import RecapError
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
from recap_core.training.value_memory import estimate_value_memory

_MIN_EPISODES_PER_OUTCOME = 2
_LONG_PROMPT = 4096


def check_value_training(  # noqa: PLR0913 - options are keyword-only
    table: FrameTable,
    config: TrainValueConfig,
    runtime: TrainRuntime,
    machine: Machine,
    *,
    start: Path | None = None,
    unfilled: Collection[str] = (),
) -> list[Finding]:
    """Everything that can be known without training a step; nothing is written.

    Args:
        table: The dataset.
        config: What would be trained.
        runtime: How.
        machine: Where.
        start: Directory of the value model to start from.
        unfilled: Leaves that its import could not fill.

    Returns:
        Findings, errors first.
    """
    findings = [
        *_memory(config, runtime, machine),
        *_disk(config, machine),
        *_columns(table, config),
        *_episodes(table, config),
        *_prompts(table, config, machine),
        *_start(config, start, unfilled),
    ]
    return errors_first(findings)


def _memory(
    config: TrainValueConfig, runtime: TrainRuntime, machine: Machine
) -> Generator[Finding]:
    """Devices divide the batch, and what they and the host must hold fits."""
    yield from check_memory(
        config.train.batch_size,
        runtime,
        machine,
        estimate=lambda: estimate_value_memory(config, runtime, num_devices=machine.num_devices),
        where=f"each device, freeze={config.freeze}",
        smaller=lambda: _smaller(config),
        smaller_host="train on a machine with more memory",
    )


def _smaller(config: TrainValueConfig) -> str:
    advice = "use -r micro_batches=4, or -r fsdp_devices on several devices"
    return advice if config.freeze == "all_backbones" else f"{advice}, or -s freeze=all_backbones"


def _disk(config: TrainValueConfig, machine: Machine) -> Generator[Finding]:
    """Checkpoints, the best parameters and the published model have room."""
    whole = estimate_value_memory(config, TrainRuntime(), num_devices=1)
    best = 0 if config.validation is None else 2 * (whole.params + whole.ema)
    published = 2 * (whole.params + whole.frozen_params)
    wanted, free = train_state_bytes(whole) + best + published, machine.free_bytes
    value = f"{wanted / GB:.1f} GB of checkpoints; {free / GB:.1f} GB are free"
    if wanted > free:
        yield disk_too_small(machine, value)
    else:
        yield finding("note", "disk", str(machine.home), value, "they fit", "")


def _columns(table: FrameTable, config: TrainValueConfig) -> Generator[Finding]:
    """The cameras and the state, whose norm stats every training has, are in the dataset."""
    features, value = table.meta.features, config.value
    wanted = {
        camera: f"value.embodiment.views.{view}"
        for view, camera in value.embodiment.views.items()
        if view in value.model.views
    }
    wanted |= dict.fromkeys(value.embodiment.state, "value.embodiment.state")
    missing = {name: setting for name, setting in wanted.items() if name not in features}
    if missing:
        yield finding(
            "error", "columns", ", ".join(missing), f"the dataset has {', '.join(features)}",
            f"{', '.join(missing.values())} name them",
            "correct the embodiment (recap configs robot), or convert the data again",
        )  # fmt: skip


def _episodes(table: FrameTable, config: TrainValueConfig) -> Generator[Finding]:
    """Both outcomes are there to learn from, and to be judged by."""
    success, share = table.success, config.health.held_out_share
    split = split_episodes(
        len(success), ratios=(1 - 2 * share, share, share), originals=table.originals
    )
    num_success = int(success.sum())
    if num_success in (0, len(success)):
        yield finding(
            "error", "outcomes", "episodes",
            f"all {len(success)} {'succeeded' if num_success else 'failed'}",
            "V is what tells successes from failures, and learns it from both",
            "add rollouts of the missing kind, or check the operators' marks",
        )  # fmt: skip
    chooses = config.validation is not None and len(split.validation) > 0
    judges = split.test if chooses else np.concatenate([split.validation, split.test])
    parts = {"train": split.train, "judge": judges}
    if config.validation is not None:
        parts["validate"] = split.validation
    counts = ", ".join(
        f"{name} {len(part)} ({int(success[part].sum())} successes)" for name, part in parts.items()
    )
    if config.validation is not None and not chooses:
        yield finding(
            "warning", "validation", "episodes", counts, "training cannot stop early",
            "record more episodes, raise health.held_out_share, or set validation=null",
        )  # fmt: skip
    num_failures = len(judges) - int(success[judges].sum())
    if min(int(success[judges].sum()), num_failures) < _MIN_EPISODES_PER_OUTCOME:
        yield finding(
            "warning", "health", "episodes", counts,
            f"the health gate needs {_MIN_EPISODES_PER_OUTCOME} of both outcomes to judge with",
            "record more episodes, or raise health.held_out_share",
        )  # fmt: skip
    else:
        yield finding("note", "split", "episodes", counts, "by episode, seed 42", "")


def _prompts(table: FrameTable, config: TrainValueConfig, machine: Machine) -> Generator[Finding]:
    """The tokenizer is there, and every task's prompt fits."""
    value, limit = config.value, config.value.model.max_token_len
    try:
        tokenizer = PromptTokenizer(
            value.prompt, _LONG_PROMPT, value.model.state_input, weights_dir=machine.weights_dir
        )
    except RecapError as error:
        text, _, fix = str(error).partition(". ")
        yield finding(
            "error", "tokenizer", value.prompt.tokenizer, text, "prompts become tokens", fix
        )
        return
    features, state = table.meta.features, None
    if tokenizer.writes_state:
        known = [features[name]["shape"][0] for name in value.embodiment.state if name in features]
        state = np.ones((1, sum(known)))  # bin 255: most digits
    default = value.embodiment.default_prompt
    for task in table.tasks if default is None else (default,):
        length = int(tokenizer.encode_value([task], state)[1].sum())
        if length > limit:
            yield finding(
                "warning" if state is None else "error", "prompts", task,
                f"{length} tokens", f"value.model.max_token_len is {limit}: the rest is cut",
                "raise it, or shorten the task",
            )  # fmt: skip


def _start(
    config: TrainValueConfig, start: Path | None, unfilled: Collection[str]
) -> Generator[Finding]:
    """Frozen parts have weights to start from, of this architecture."""
    import jax

    from recap_core.checkpoints.value_start import check_value_start
    from recap_core.models.value_model import ValueModel
    from recap_core.training.state import frozen_paths
    from recap_core.training.value_freezing import trainable_value_leaves

    shapes = jax.eval_shape(ValueModel(config.value.model).init, jax.random.key(0))
    frozen = frozen_paths(trainable_value_leaves(config.value.model, shapes, config.freeze))
    random = [leaf for leaf in frozen if start is None or leaf in unfilled]
    if random:
        yield finding(
            "error", "start", f"freeze={config.freeze}",
            f"no weights to start from for {random[0]} and {len(random) - 1} more leaves",
            "frozen leaves would stay random",
            "name pretrained weights with --start, or set -s freeze=none",
        )  # fmt: skip
    if start is None:
        return
    who = f"the start {start}"
    try:
        fresh = check_value_start(start, config.value, shapes, fresh=unfilled, who=who)
    except RecapError as error:
        yield from_error(error, check="start")
        return
    value = f"{len(fresh)} leaves start fresh" if fresh else "every leaf fits"
    yield finding("note", "start", str(start), value, "all others are the start's", "")
