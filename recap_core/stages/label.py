"""Stage 5: advantages and ``adv_ind`` from stored values, in milliseconds."""

import json

from recap_core.config.labels import LabelConfig
from recap_core.errors import IncompatibleError
from recap_core.lineage.artifacts import AnyDataset, Labels, Values
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import LABEL

RULE_FILE = "rule.json"


def label_dataset(
    dataset: AnyDataset, values: Values, config: LabelConfig, *, name: str, store: Store
) -> Labels:
    """Label every frame of ``dataset`` by the N-step advantage of ``values``.

    Raises:
        IncompatibleError: If the values belong to another dataset, or lack frames of the pool.
    """
    if values.parents[0] != dataset.id:
        raise IncompatibleError(
            f"values {values.name}-{values.id[:8]} belong to dataset {values.parents[0][:8]}, not "
            f"to {dataset.name}-{dataset.id[:8]}: infer the values of this dataset first"
        )
    if config.pool == "all" and values.frames != "all":
        raise IncompatibleError(
            f"values {values.name}-{values.id[:8]} leave out demonstrations ({values.num_missing} "
            f"of {values.num_frames} frames), which pool 'all' needs: infer them with: recap value "
            f"infer VALUE_MODEL {dataset.name}-{dataset.id[:8]} --frames all"
        )

    def build(area: Build) -> Built:
        import numpy as np

        from recap_core.data.frames import read_frames
        from recap_core.data.label_table import LABELS_FILE, LabelTable, write_label_table
        from recap_core.labels.adv_ind import encode_adv_ind
        from recap_core.labels.labelling import Frames, label_frames
        from recap_core.labels.targets import Episodes
        from recap_core.valuation.values import read_values

        table = read_frames(store.path(dataset))
        frames = Frames(
            values=read_values(store.path(values)),
            is_intervention=table.is_intervention,
            is_paused=table.is_paused,
            adv_ind=encode_adv_ind(table.column("adv_ind")),
        )
        episodes = Episodes(table.episode_lengths, table.success, table.episode_tasks, table.rounds)
        options = config.model_dump(exclude={"targets"}) | config.targets.model_dump()
        result = label_frames(frames, episodes, **options)
        write_label_table(
            area.output / LABELS_FILE,
            LabelTable(result.advantage, result.adv_ind, result.rank.astype(np.int64)),
        )
        thresholds = {
            task: None if np.isnan(value) else float(value)
            for task, value in zip(table.tasks, result.threshold, strict=True)
        }
        rule = {"rule": config.model_dump(mode="json"), "thresholds": thresholds}
        (area.output / RULE_FILE).write_text(json.dumps(rule, indent=2) + "\n")
        details = {
            "num_frames": table.num_frames,
            "num_positive": result.counts["positive"],
            "num_negative": result.counts["negative"],
            "num_none": result.counts["none"],
            "autonomous_positive_share": result.autonomous_positive_share,
        }
        return Built(details)

    inputs = {"dataset": dataset, "values": values}
    return store.produce(LABEL, config, inputs, name=name, build=build)
