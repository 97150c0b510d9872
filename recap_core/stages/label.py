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
    if config.pool == "all" and values.num_missing:
        raise IncompatibleError(
            f"values {values.name}-{values.id[:8]} leave out demonstrations ({values.num_missing} "
            f"of {values.num_frames} frames), which pool 'all' needs: infer them with: recap value "
            f"infer VALUE_MODEL {dataset.name}-{dataset.id[:8]} --frames all"
        )

    def build(area: Build) -> Built:
        from recap_core.data.label_table import LABELS_FILE, LabelTable, write_label_table
        from recap_core.labels.labelling import label_frames
        from recap_core.stages.label_inputs import described_rule, label_rule, read_label_inputs

        inputs = read_label_inputs(store.path(dataset), store.path(values), config.frozen_arms)
        result = label_frames(inputs.frames, inputs.episodes, label_rule(config))
        write_label_table(
            area.output / LABELS_FILE,
            LabelTable(result.advantage, result.adv_ind, result.choice.rank),
        )
        described = described_rule(config, result.choice, inputs)
        (area.output / RULE_FILE).write_text(json.dumps(described, indent=2) + "\n")
        details = {
            "num_frames": inputs.table.num_frames,
            "num_positive": result.counts["positive"],
            "num_negative": result.counts["negative"],
            "num_none": result.counts["none"],
            "autonomous_positive_share": result.choice.autonomous_positive_share,
        }
        return Built(details)

    inputs = {"dataset": dataset, "values": values}
    return store.produce(LABEL, config, inputs, name=name, build=build)
