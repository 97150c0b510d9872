"""One reader and one writer for the labels of any tool."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from recap_core.config.interchange import ExportLabelsConfig, LabelSourceConfig
from recap_core.data.frames import FrameTable
from recap_core.data.interchange.evo_rl import read_evo_rl, write_evo_rl
from recap_core.data.interchange.exchanged import ExchangedLabels
from recap_core.data.interchange.kai0 import read_kai0, write_kai0
from recap_core.data.interchange.opentau import read_opentau, write_opentau
from recap_core.data.interchange.rlinf import read_rlinf, write_rlinf
from recap_core.lineage.digest_cache import DigestCache

_HOLDS = {
    "rlinf": ("advantage", "value"),
    "evo_rl": ("advantage", "value"),
    "kai0": (),
    "opentau": ("advantage",),
}
"""What a tool keeps besides the label."""


class Written(NamedTuple):
    """What to know of labels that were written for another tool."""

    threshold: float | None
    """OpenTau's ``advantage_threshold``, which its files do not hold."""
    left_out: tuple[str, ...]
    """What these labels have and the tool does not: ``advantage``, ``value``."""


def read_labels(source: Path, table: FrameTable, config: LabelSourceConfig) -> ExchangedLabels:
    """Read the labels that another tool made for a dataset.

    Args:
        source: The tool's file, or the dataset that it annotated.
        table: The dataset that these labels are for.
        config: Which tool, and what its files cannot say by themselves.

    Raises:
        DataError: If the source cannot be read.
        ColumnError: If it does not fit the dataset, or breaks a rule of the tool's layout.
    """
    if config.tool == "rlinf":
        return read_rlinf(source, table, tag=config.tag)
    if config.tool == "evo_rl":
        return read_evo_rl(source, table, tag=config.tag)
    if config.tool == "kai0":
        return read_kai0(source, table)
    assert config.threshold is not None  # noqa: S101 - LabelSourceConfig checks it
    return read_opentau(source, table, threshold=config.threshold)


def write_labels(  # noqa: PLR0913 - options are keyword-only
    output: Path,
    table: FrameTable,
    exchanged: ExchangedLabels,
    config: ExportLabelsConfig,
    *,
    dataset_name: str,
    share: bool,
    digests: DigestCache | None = None,
) -> Written:
    """Write labels for another tool.

    Args:
        output: An existing, empty directory: of a dataset for Evo-RL and kai0, of the files that go
            into one for RLinf and OpenTau.
        table: The dataset that was labelled.
        exchanged: Its labels.
        config: Which tool, and what becomes of what it cannot hold.
        dataset_name: What RLinf calls the dataset.
        share: Hard-link the videos of a dataset; else copy them.
        digests: The store's digest cache, if the dataset is in a store.

    Raises:
        ColumnError: If the tool cannot hold these labels and the config does not say what then.
    """
    threshold = None
    if config.tool == "rlinf":
        write_rlinf(output, table, exchanged, config, dataset_name=dataset_name)
    elif config.tool == "evo_rl":
        write_evo_rl(output, table, exchanged, config, share=share, digests=digests)
    elif config.tool == "kai0":
        write_kai0(output, table, exchanged, share=share, digests=digests)
    else:
        threshold = write_opentau(output, table, exchanged, config)
    has = {
        "advantage": not np.isnan(exchanged.labels.advantage).all(),
        "value": exchanged.values is not None,
    }
    holds = () if config.signs else _HOLDS[config.tool]
    return Written(threshold, tuple(name for name in has if has[name] and name not in holds))
