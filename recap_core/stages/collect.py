"""Stage 0: record episodes in simulation."""

from contextlib import nullcontext

from recap_core.config.collection import CollectConfig, CollectRuntime
from recap_core.errors import ConfigError
from recap_core.lineage.artifacts import PolicyCheckpoint, Recording
from recap_core.lineage.device_lock import device_lock
from recap_core.lineage.links import link_tree
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress, Silent
from recap_core.stages.registry import COLLECT


def collect_recording(  # noqa: PLR0913 - all but the first two by name
    policy: PolicyCheckpoint | None,
    config: CollectConfig,
    *,
    name: str,
    store: Store,
    runtime: CollectRuntime | None = None,
    progress: Progress | None = None,
) -> Recording:
    """Record demonstrations of the expert, or rollouts of ``policy`` under supervision.

    A killed session keeps its finished episodes and goes on with the remaining ones.

    Raises:
        ConfigError: If rollouts are asked for without a policy, or demonstrations with one.
        RenderingError: If the config has cameras and no GL context can be made.
    """
    if (policy is None) != (config.mode == "demonstration"):
        raise ConfigError(
            f"mode is {config.mode!r} and policy is {policy and policy.name}: "
            "rollouts need a policy, demonstrations take none"
        )
    num_robots = (runtime or CollectRuntime()).num_robots

    def build(area: Build) -> Built:
        from recap_core.collection.session import collect

        session, client = area.work / "session", None
        with device_lock(progress) if policy is not None else nullcontext():
            if policy is not None:
                from recap_core.serving.policy import LoadedPolicy

                client = LoadedPolicy.load(store.path(policy), batch_size=num_robots)
            summary = collect(
                config, client, session, num_robots=num_robots, progress=progress or Silent()
            )
        # Links, not renames: if this process dies now, the finished episodes are still in work.
        link_tree(session, area.output, digests=None)
        details = summary.model_dump(
            mode="json", exclude={"num_discarded", "num_intervention_episodes"}
        )
        takeovers = {"num_intervention_episodes": summary.num_intervention_episodes}
        return Built(details, takeovers)

    return store.produce(COLLECT, config, {"policy": policy}, name=name, build=build)
