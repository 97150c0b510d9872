"""The end of a round: one artifact that everything else of the round can be found from."""

from collections.abc import Mapping, Sequence

from recap_core.config.iteration import RecordIterationConfig
from recap_core.lineage.artifacts import Artifact, Iteration
from recap_core.lineage.iterations import RECORD_FILE
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import RECORD_ITERATION


def record_iteration(
    parts: Mapping[str, Artifact | Sequence[Artifact] | None],
    config: RecordIterationConfig,
    *,
    name: str,
    store: Store,
) -> Iteration:
    """Publish what a round was made of, its settings, and the decision about its policy.

    Args:
        parts: Artifacts by role (:data:`recap_core.lineage.iterations.ROLES`).
        config: Whose round, settings, decision.
        name: Name of the artifact.
        store: Where the parts are.
    """

    def build(area: Build) -> Built:
        (area.output / RECORD_FILE).write_text(config.model_dump_json(indent=1) + "\n")
        return Built(
            {
                "project": config.project,
                "robot": config.robot,
                "round_index": config.round_index,
                "verdict": config.decision.verdict,
                "reasons": config.decision.reasons,
            }
        )

    return store.produce(RECORD_ITERATION, config, parts, name=name, build=build)
