"""How a session goes, and how robot, policy and recorder do: rows of the screen."""

from collections.abc import Sequence

from rich.text import Text

from deployments.cli.collect_alarms import is_jittery, is_slow
from deployments.cli.quantities import bytes_text, seconds_text
from recap_core.evaluation.paired import wilson
from recap_core.evaluation.tally import PassiveTally
from recap_core.rollout.live import LiveStatus

_LABEL_COLUMNS = 10
_BAD = "bold red"


def session_rows(
    status: LiveStatus,
    *,
    width: int,
    is_evaluation: bool,
    target_rate: float | None = None,
    is_ascii: bool,
) -> list[Text]:
    """Outcomes, corrections and the goal."""
    num_episodes = status.num_successes + status.num_failures
    corrections = f"{status.num_corrections:,}, {status.correcting_share:.0%} of the frames"
    goal = bar(status.goal_share, width - _LABEL_COLUMNS - 6, is_ascii=is_ascii)
    return [
        Text("TRIALS" if is_evaluation else "SESSION", style="bold underline"),
        _row("success", success_text(status.num_successes, num_episodes)),
        *([] if target_rate is None else [_row("target", target_text(status.trials, target_rate))]),
        _row("discarded", f"{status.num_discarded:,}"),
        _row("corrected", "never: evaluation" if is_evaluation else corrections),
        _row("goal", status.goal or "none"),
        _row("", f"{goal} {min(status.goal_share, 1):4.0%}"),
    ]


def health_rows(status: LiveStatus, *, rate_hz: float | None) -> list[Text]:
    """Loop, policy, recorder and disk."""
    recorder = status.recorder
    left = "" if recorder.seconds_left is None else f", {seconds_text(recorder.seconds_left)} left"
    dropped = f"{recorder.num_dropped:,} dropped"
    return [
        Text("HEALTH", style="bold underline"),
        _loop(status, rate_hz),
        *_policy(status),
        _row(
            "recorder",
            f"queue {recorder.queue_share:.0%}, {dropped}",
            style=_BAD if recorder.num_dropped else "",
        ),
        _row("disk", f"{bytes_text(recorder.free_bytes)} free{left}"),
    ]


def success_text(num_successes: int, num_episodes: int) -> str:
    """``5 of 8, 62 % [31, 86]``: Wilson's 95 % interval in percent."""
    if not num_episodes:
        return "no episode yet"
    low, high = wilson(num_successes, num_episodes, 0.95)
    rate = num_successes / num_episodes
    return (
        f"{num_successes} of {num_episodes}, {100 * rate:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
    )


def target_text(trials: Sequence[bool], target_rate: float) -> str:
    """``80 %? about 29 more trials``, or what they have shown, however often one has looked."""
    tally = tallied(trials, target_rate)
    standing = tally.standing
    if tally.verdict == "better":
        return f"above {target_rate:.0%}: shown"
    if tally.verdict == "worse":
        return f"below {target_rate:.0%}: shown"
    if standing is None or not standing.num_trials or standing.num_more is None:
        return f"{target_rate:.0%}? not known yet"
    return f"{target_rate:.0%}? about {standing.num_more:,} more trials"


def tallied(trials: Sequence[bool], target_rate: float) -> PassiveTally:
    """All trials that count, against a target."""
    tally = PassiveTally(target=target_rate)
    for is_success in trials:
        tally.add(is_success=is_success)
    return tally


def bar(share: float, width: int, *, is_ascii: bool = False) -> str:
    """A bar that is ``share`` full, at least one column wide."""
    width = max(width, 1)
    num_full = round(min(max(share, 0), 1) * width)
    full, rest = ("#", ".") if is_ascii else ("█", "░")
    return full * num_full + rest * (width - num_full)


def clock_text(seconds: float) -> str:
    """``3:05``, or ``1:02:03``."""
    minutes, seconds_left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{minutes}:{seconds_left:02d}"
    return f"{hours}:{minutes:02d}:{seconds_left:02d}" if hours else text


def _loop(status: LiveStatus, rate_hz: float | None) -> Text:
    if status.loop_hz <= 0:
        return _row("loop", "not measured yet")
    of = "" if rate_hz is None else f"/{rate_hz:g}"
    jitter = f"{status.jitter_p99_ms:.{1 if status.jitter_p99_ms < 10 else 0}f}"
    is_bad = rate_hz is not None and (is_slow(status, rate_hz) or is_jittery(status, rate_hz))
    late = f", {status.num_late_ticks:,} late" if status.num_late_ticks else ""
    text = f"{status.loop_hz:.1f}{of} Hz, jitter {jitter} ms{late}"
    return _row("loop", text, style=_BAD if is_bad else "")


def _policy(status: LiveStatus) -> list[Text]:
    policy = status.policy
    if policy is None:
        return [_row("policy", "none: only you drive")]
    if not policy.is_connected:
        return [_row("policy", "NOT CONNECTED", style=_BAD), _row("", policy.where)]
    parts: list[str] = []
    if policy.latency_ms is not None:
        p95 = "" if policy.latency_p95_ms is None else f", p95 {policy.latency_p95_ms:.0f}"
        parts.append(f"{policy.latency_ms:.0f} ms{p95}")
    parts += [f"{policy.num_late:,} late"] if policy.num_late else []
    parts += [f"{policy.num_reconnects:,} reconnects"] if policy.num_reconnects else []
    names = dict.fromkeys(name for name in (policy.policy_id, policy.where) if name)
    return [_row("policy", ", ".join(parts) or "connected"), _row("", " at ".join(names))]


def _row(label: str, value: str, *, style: str = "") -> Text:
    """A label and its value; the value may be of any length."""
    return Text.assemble((f"{label:<{_LABEL_COLUMNS}}", "bold"), (value, style))
