"""The card of a policy."""

from typing import Any

from recap_core.checkpoints.policy_checkpoint import read_policy_config
from recap_core.config.evaluation import EvaluationConfig
from recap_core.config.policy import PolicyConfig
from recap_core.config.sizes import POLICY_SIZES
from recap_core.hub.card_parts import (
    CardOptions,
    annotations_part,
    labels_part,
    making_part,
    missing_limits,
    recordings_part,
)
from recap_core.hub.markdown import bullets, code, page, plain, table
from recap_core.lineage.artifacts import Evaluation, OfflineCheck, PolicyCheckpoint
from recap_core.lineage.decisions import decision_on
from recap_core.lineage.snapshot import Snapshot
from recap_core.reports.numbers import count, percent
from recap_core.stages.trace import trace
from recap_core.stages.trace_content import Origin, TracedEvaluation, TracedPolicy

_SCORED = "score_recording"
"""Stage of evaluations on a robot, by an operator."""


def policy_card(snapshot: Snapshot, policy: PolicyCheckpoint, options: CardOptions) -> str:
    """``README.md`` of a policy: front matter that the hub reads, and text for people.

    Args:
        snapshot: The store that the policy is in.
        policy: Its content verified.
        options: What lineage cannot know.

    Raises:
        CheckpointError: If it lacks its settings.
    """
    from huggingface_hub import ModelCardData

    origin = trace(snapshot, policy, "back").origin
    assert origin is not None  # noqa: S101 - the way back was asked for
    config = read_policy_config(snapshot.store.path(policy))
    size = _size(config)
    front = ModelCardData(
        license=options.license,
        pipeline_tag="robotics",
        tags=["robotics", "recap", *([size] if size else [])],
        **_results(policy, origin.evaluations),
    )
    return f"---\n{front.to_yaml()}\n---\n\n" + page(
        plain(policy.name),
        [
            ("", _summary(policy, config, size, origin)),
            ("Use it", _usage(options, config, size)),
            ("How well it does", _success(snapshot, policy, origin)),
            ("Why it was chosen", _decisions(snapshot, policy, options)),
            ("What it sees and does", _interface(config)),
            ("What it learned from", _learned(snapshot, origin, options)),
            ("How it was made", making_part(snapshot.store.manifest(policy), origin)),
            ("Limits", _limits(snapshot, policy, config, origin)),
        ],
    )


def _size(config: PolicyConfig) -> str | None:
    """Name of the published size that the policy has."""
    parts = (config.model.vlm, config.model.expert, config.model.siglip, config.model.time_input)
    for name, size in POLICY_SIZES.items():
        if (size.vlm, size.expert, size.siglip, size.time_input) == parts:
            return name
    return None


def _results(policy: PolicyCheckpoint, evaluations: tuple[TracedEvaluation, ...]) -> dict[str, Any]:
    """The newest success rate as the hub's ``model-index``; nothing without one."""
    from huggingface_hub import EvalResult

    if not evaluations:
        return {}
    newest = evaluations[-1]
    result = EvalResult(
        task_type="robotics",
        dataset_type="recap-evaluation",
        dataset_name=newest.of.label,
        metric_type="success_rate",
        metric_value=round(newest.success_rate, 4),
        metric_name=f"success rate of {newest.num_episodes} episodes",
    )
    return {"model_name": policy.name, "eval_results": [result]}


def _summary(
    policy: PolicyCheckpoint, config: PolicyConfig, size: str | None, origin: Origin
) -> str:
    family = "pi0.5" if config.model.time_input == "adarms" else "pi0"
    if family == "pi0.5" and config.prompt.advantage:
        family = "pi0.6"
    sized = f" (`{size}`)" if size else ""
    how = "from demonstrations"
    if any(recording.mode == "rollout" for recording in origin.recordings):
        how = "with RECAP: from policies' own episodes and from corrections"
    learned = f"It was trained for {count(policy.num_steps)} steps {how}."
    if policy.source is not None:
        learned = "It was trained elsewhere and imported."
    text = (
        f"A robot policy of the {family} architecture{sized}, {count(policy.num_params)} "
        f"parameters. {learned}"
    )
    if origin.evaluations:
        text += f"\n\n**Success: {origin.evaluations[-1].text()}** (95 % interval, episodes)."
    return text


def _usage(options: CardOptions, config: PolicyConfig, size: str | None) -> str:
    serve = f"""
hf download {options.repo} --local-dir {options.directory}
recap serve {options.directory}
recap import-policy {options.directory} --ref pretrained/{_ref(options)}/policy
"""
    text = (
        f"{code(serve, 'sh')}\n\n`recap serve` speaks openpi's protocol, so any openpi-client asks "
        "it for actions; after `import-policy`, trainings can start from it."
    )
    if size in {None, "tiny"}:
        return f"{text}\n\nopenpi has no policy of this size; recap serves it."
    openpi = f"""
uv run scripts/serve_policy.py policy:checkpoint --policy.config=CONFIG \\
    --policy.dir={options.directory}
"""
    told = (
        f"With openpi, where CONFIG is a training config of the same architecture whose asset id "
        f"is `{plain(config.embodiment.asset_id)}`:\n\n{code(openpi, 'sh')}"
    )
    if config.prompt.advantage:
        told += (
            "\n\nopenpi's own prompt has no `Advantage: positive`, so it asks for what the policy "
            "does on average; `recap serve` asks for its best."
        )
    return f"{text}\n\n{told}"


def _ref(options: CardOptions) -> str:
    kept = [c if c.isalnum() or c in "._-" else "-" for c in options.directory.lower()]
    return "".join(kept).strip("._-") or "hub"


def _success(snapshot: Snapshot, policy: PolicyCheckpoint, origin: Origin) -> str:
    rows = [
        (
            plain(one.of.label),
            one.text(),
            _conditions(snapshot, one.of.id),
        )
        for one in origin.evaluations
    ]
    text = table(["evaluation", "success [interval]", "under which conditions"], rows)
    checks = [
        _offline_line(check)
        for manifest in snapshot.children(policy.id, "offline_check")
        if isinstance(check := manifest.artifact(), OfflineCheck)
        and snapshot.parent(check.id, "policy") == policy.id
    ]
    parts = [text if rows else "It has not been evaluated.", bullets(checks)]
    return "\n\n".join(part for part in parts if part)


def _conditions(snapshot: Snapshot, evaluation_id: str) -> str:
    manifest = snapshot.manifests[evaluation_id]
    if manifest.stage == _SCORED:
        takeovers = manifest.config.get("takeovers", "failure")
        how = "count as failures" if takeovers == "failure" else "are left out"
        return f"on the robot, judged by an operator; episodes with a takeover {how}"
    evaluation = snapshot.artifact(evaluation_id)
    assert isinstance(evaluation, Evaluation)  # noqa: S101 - only evaluations are asked for
    config = EvaluationConfig.model_validate(manifest.config)
    last = config.first_seed + config.num_episodes - 1
    return (
        f'in simulation ({config.robot.kind}), task "{plain(config.robot.instruction)}", seeds '
        f"{config.first_seed} to {last}, at most {config.max_episode_frames} frames, "
        f"{config.execute_frames} of every action chunk executed"
    )


def _offline_line(check: OfflineCheck) -> str:
    failed = f"failed: {', '.join(check.failed)}" if check.failed else "nothing failed"
    seen = " that it was trained on" if check.seen_in_training else ""
    warnings = "".join(f" {plain(text)}" for text in check.warnings)
    return (
        f"Offline check on {count(check.num_frames)} frames of {check.num_episodes} "
        f"episodes{seen}: {failed}.{warnings}"
    )


def _decisions(snapshot: Snapshot, policy: PolicyCheckpoint, options: CardOptions) -> str:
    """What the gate of every round said of it, and people."""
    lines: list[str] = []
    for record, role in snapshot.rounds_by_part.get(policy.id, []):
        if role != "policy":
            continue
        decision = record.record(snapshot.store).decision
        reasons = " ".join(plain(reason) for reason in decision.reasons)
        lines.append(f"{plain(record.label)}: **{decision.verdict}**. {reasons}".strip())
        project = f"{record.artifact.project}/{record.artifact.robot}"
        word = decision_on(snapshot.store, project, policy)
        if word is not None and options.with_operators:
            lines.append(plain(word.sentence()))
        elif word is not None:
            lines.append(f"{word.word.capitalize()} on {word.at:%Y-%m-%d}.")
    return bullets(dict.fromkeys(lines))


def _interface(config: PolicyConfig) -> str:
    model, robot = config.model, config.embodiment
    views = ", ".join(f"`{view}`" for view in model.views) or "none: it acts on the state alone"
    state = ", ".join(f"`{name}`" for name in robot.state)
    clause = ", and `Advantage: positive` when it is served" if config.prompt.advantage else ""
    return table(
        ["", ""],
        [
            ("cameras", views),
            ("state", f"{state}, {model.state_dim} numbers, as {model.state_input}"),
            ("actions", f"chunks of {model.action_horizon} frames, {model.action_dim} numbers"),
            ("normalization", f"{robot.normalization}, asset id `{plain(robot.asset_id)}`"),
            ("prompt", f"the task{clause}"),
        ],
    )


def _learned(snapshot: Snapshot, origin: Origin, options: CardOptions) -> str:
    lines = [_training_line(policy) for policy in origin.policies]
    dataset = origin.policies[0].dataset
    labels_id = snapshot.parent(dataset.id, "labels") if dataset else None
    labels = next((each for each in origin.labels if each.of.id == labels_id), None)
    parts = [
        bullets(lines),
        labels_part(labels, origin.value_models),
        recordings_part(origin.recordings, options),
        annotations_part(origin.annotations),
    ]
    return "\n\n".join(part for part in parts if part)


def _training_line(policy: TracedPolicy) -> str:
    name = plain(policy.of.label)
    if policy.source is not None:
        return f"{name}: imported."
    start = f", started from {policy.start[:8]}" if policy.start else ""
    data = ""
    if policy.dataset is not None and policy.num_episodes is not None:
        data = (
            f" on {plain(policy.dataset.label)} ({count(policy.num_episodes)} episodes, "
            f"{count(policy.num_frames or 0)} frames)"
        )
    return f"{name}: {count(policy.num_steps)} steps{data}{start}."


def _limits(
    snapshot: Snapshot, policy: PolicyCheckpoint, config: PolicyConfig, origin: Origin
) -> str:
    lines = missing_limits(origin)
    stages = {snapshot.manifests[one.of.id].stage for one in origin.evaluations}
    if not stages:
        lines.append("Its success rate was never measured.")
    elif stages == {_SCORED}:
        lines.append("It was evaluated on the robot only, on scenes that nobody can repeat.")
    elif _SCORED not in stages:
        lines.append("It was evaluated in simulation only, never on a robot.")
    if any(one.success_high - one.success_low > 0.2 for one in origin.evaluations[-1:]):
        newest = origin.evaluations[-1]
        width = percent(newest.success_high - newest.success_low, 0)
        lines.append(f"{newest.num_episodes} episodes leave an interval {width} wide.")
    if policy.source is not None:
        lines.append("What it was trained on is not known here.")
    lines.append("Other robots, tasks, scenes, cameras and lighting were not evaluated.")
    lines.append(
        f"Actions are in the units of `{plain(config.embodiment.asset_id)}`; nothing limits them: "
        "try it with a person at the emergency stop."
    )
    return bullets(lines)
