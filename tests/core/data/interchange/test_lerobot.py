"""Datasets written for other tools, read with lerobot's own reader."""

from pathlib import Path
from typing import Any, cast

from recap_core.config.interchange import ExportLabelsConfig
from recap_core.data.frames import FrameTable, read_frames
from recap_core.data.interchange.evo_rl import write_evo_rl
from recap_core.data.interchange.kai0 import write_kai0
from recap_core.data.lerobot_bridge import open_dataset
from tests.core.data.interchange import made_up


def test_lerobot_reads_columns_and_tagged_texts(table: FrameTable, tmp_path: Path) -> None:
    """Evo-RL's prompt hook insists on an integer per frame; kai0 takes the text as the prompt."""
    import torch

    config = ExportLabelsConfig(tool="evo_rl", tag="r1")
    write_evo_rl(tmp_path / "columns", table, made_up.alternating(), config)
    write_kai0(tmp_path / "both", read_frames(tmp_path / "columns"), made_up.alternating())

    reader = open_dataset(tmp_path / "both")
    negative, positive = cast("list[dict[str, Any]]", [reader[12], reader[13]])

    indicator = positive["complementary_info.acp_indicator_r1"]
    assert (indicator.dtype, int(indicator)) == (torch.int64, 1)
    assert positive["complementary_info.advantage_r1"].dtype == torch.float32
    assert negative["task"] == "transfer cube, Advantage: negative"
    assert positive["task"] == "transfer cube, Advantage: positive"
