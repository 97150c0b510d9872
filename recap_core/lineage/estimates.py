"""How long a stage will take and how much disk it will fill, from what it took before.

Time goes with the work: training steps, episodes that are recorded or rolled out, frames of
everything else. Only results of this machine say how long something takes here; how large it gets
is the same everywhere.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from recap_core.lineage.manifest import Manifest
from recap_core.lineage.new_files import new_bytes
from recap_core.lineage.store import Store

_STEPS = ("train_policy", "train_value", "align_value")
_EPISODES = ("collect", "evaluate")
_CONSTANT = ("report", "record_iteration", "annotate")
type Number = int | float

_LATEST = 5
"""Results whose median counts, the newest of a stage."""


class Estimate(NamedTuple):
    """What one run of a stage is expected to take."""

    seconds: Number | None
    """None: it never ran on this machine."""
    new_bytes: int | None
    """None: it never ran."""
    num_past: int
    """How many results the time rests on."""
    num_frames: Number | None = None
    """Frames of its result, where it has any and they can be told."""


class _Run(NamedTuple):
    """A past run of a stage."""

    amount: Number | None
    """Units of work."""
    seconds: Number | None
    """None: it ran on another machine."""
    new_bytes: int | None
    """None: it was removed since."""


class Estimator:
    """Estimates from the results of one store.

    Args:
        store: Whose results.
        host: This machine's name.
    """

    def __init__(self, store: Store, host: str) -> None:
        self._store = store
        self._host = host
        self._by_stage: dict[str, list[Manifest]] = {}
        self._ids: dict[str, Manifest] = {}
        self._runs: dict[str, list[_Run]] = {}
        for manifest in store.artifacts():
            self._by_stage.setdefault(manifest.stage, []).append(manifest)
            self._ids[manifest.id] = manifest

    def estimate(
        self, stage: str, config: Mapping[str, Any], frames: Sequence[Number | None]
    ) -> Estimate:
        """What a stage would take with these settings and inputs.

        Args:
            stage: Its id.
            config: All its settings, defaults included.
            frames: How many frames each input that has any has; None where that is not known.
        """
        runs = self._runs.get(stage) or self._learn(stage)
        amount = _amount(stage, config, frames)
        num_frames = self._num_frames(stage, amount)
        timed = [(run.seconds, run.amount) for run in runs if run.seconds is not None]
        sized = [(run.new_bytes, run.amount) for run in runs if run.new_bytes is not None]
        size = _scaled(sized, None if stage in _STEPS else amount)  # steps make no model larger
        return Estimate(
            seconds=_scaled(timed, amount),
            new_bytes=None if size is None else round(size),
            num_past=len(timed),
            num_frames=num_frames,
        )

    def _learn(self, stage: str) -> list[_Run]:
        past = self._by_stage.get(stage, [])
        here = [manifest for manifest in past if manifest.host == self._host]
        runs = [self._run(manifest) for manifest in (here or past)[-_LATEST:]]
        self._runs[stage] = runs
        return runs

    def _run(self, manifest: Manifest) -> _Run:
        took_s = (manifest.finished_at - manifest.started_at).total_seconds()
        parents = [self._ids[p.id].details for p in manifest.parents if p.id in self._ids]
        frames = [details["num_frames"] for details in parents if "num_frames" in details]
        # Defaults are left out of the settings that are recorded; the result says what they were.
        config = {
            "num_episodes": manifest.details.get("num_episodes"),
            "train": {"num_steps": manifest.details.get("num_steps")},
        }
        return _Run(
            amount=_amount(manifest.stage, config, frames),
            seconds=took_s if manifest.host == self._host else None,
            new_bytes=new_bytes(self._store, manifest, self._ids),
        )

    def _num_frames(self, stage: str, amount: Number | None) -> Number | None:
        if stage not in _EPISODES:
            return None if stage in _STEPS else amount
        details = [manifest.details for manifest in self._by_stage.get(stage, [])[-_LATEST:]]
        lengths = [d["num_frames"] / d["num_episodes"] for d in details if "num_frames" in d]
        return amount * statistics.median(lengths) if lengths and amount else None


def _scaled(past: Iterable[tuple[Number, Number | None]], amount: Number | None) -> Number | None:
    """Median of what past runs took, per unit of work if both amounts are known."""
    pairs = list(past)
    per_unit = [total / units for total, units in pairs if units]
    if amount is not None and per_unit:
        return statistics.median(per_unit) * amount
    return statistics.median(total for total, _ in pairs) if pairs else None


def _amount(
    stage: str, config: Mapping[str, Any], frames: Sequence[Number | None]
) -> Number | None:
    """Units of work; None where they are not known."""
    if stage in _CONSTANT:
        return 1
    if stage in _STEPS:
        return dict(config.get("train") or {}).get("num_steps")
    if stage in _EPISODES:
        return config.get("num_episodes")
    known = [number for number in frames if number is not None]
    if len(known) < len(frames) or not known:
        return None
    return sum(known) if stage == "merge" else max(known)
