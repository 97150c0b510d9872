"""Features: what ``info.json`` declares, and what the data files hold."""

from collections.abc import Generator
from pathlib import Path

import pyarrow as pa

from recap_core.data.arrow_types import column_problem
from recap_core.data.checks.finding import Finding, Place
from recap_core.data.columns import ACTION, PHASE, STATE, index_features, recap_features
from recap_core.data.layout import DatasetMeta

FOUR_ARMS_DIMS = 28
"""Two followers and two leaders with seven dimensions each."""


def check_features(meta: DatasetMeta) -> Generator[Finding]:
    """What ``info.json`` says of the features, against what RECAP needs."""
    yield from _expected(meta)
    for name, feature in meta.features.items():
        names, shape = feature.get("names"), list(feature["shape"])
        if isinstance(names, list) and len(shape) == 1 and len(names) != shape[0]:
            yield Finding(
                severity="warning",
                check="schema",
                where=Place(feature=name, file="meta/info.json"),
                value=f"{len(names)} names for {shape[0]} dimensions",
                rule="every dimension has one name",
                fix="correct the names, or leave them out",
            )
        fps = (feature.get("info") or {}).get("video.fps") if isinstance(feature, dict) else None
        if feature["dtype"] == "video" and fps is not None and fps != meta.fps:
            yield Finding(
                severity="error",
                check="schema",
                where=Place(feature=name, file="meta/info.json"),
                value=f"video.fps {fps}",
                rule=f"videos and rows have one rate, and fps is {meta.fps}",
                fix="convert the recording again",
            )
    dims = meta.features.get(STATE, {}).get("shape", [0])
    if list(dims) == [FOUR_ARMS_DIMS]:
        yield Finding(
            severity="warning",
            check="schema",
            where=Place(feature=STATE),
            value=f"{FOUR_ARMS_DIMS} dimensions",
            rule="two arms have 14: the leader arms seem to be in the state",
            fix="convert with the follower arms only",
        )


def _expected(meta: DatasetMeta) -> Generator[Finding]:
    for name, expected in {**recap_features(), **index_features()}.items():
        found = meta.features.get(name)
        if found is None:
            yield Finding(
                severity="note" if name == PHASE else "error",
                check="schema",
                where=Place(feature=name, file="meta/info.json"),
                value="missing",
                rule="without phases, pauses count as autonomous frames"
                if name == PHASE
                else "every RECAP dataset has this column",
                fix="convert the recording again, or ingest the dataset",
            )
        elif (found["dtype"], list(found["shape"])) != (expected["dtype"], [1]):
            yield Finding(
                severity="error",
                check="schema",
                where=Place(feature=name, file="meta/info.json"),
                value=f"{found['dtype']} of shape {list(found['shape'])}",
                rule=f"it must be {expected['dtype']} of shape [1]",
                fix="ingest the dataset: that casts the column",
            )
    for name in (STATE, ACTION):
        feature = meta.features.get(name)
        if feature is None or not feature["dtype"].startswith("float"):
            yield Finding(
                severity="error",
                check="schema",
                where=Place(feature=name, file="meta/info.json"),
                value="missing" if feature is None else feature["dtype"],
                rule="policies read a state and an action of floating-point numbers",
                fix="convert the recording again, or name the columns in the configuration",
            )


def check_columns_of(path: Path, schema: pa.Schema, meta: DatasetMeta) -> Generator[Finding]:
    """Columns of one data file that are missing, too many, or of another type than declared."""
    file = path.relative_to(meta.root).as_posix()
    stored = [name for name, feature in meta.features.items() if feature["dtype"] != "video"]
    for name in stored:
        problem = "is missing"
        if schema.names.count(name) == 1:
            problem = column_problem(name, schema.field(name).type, meta.features[name])
        if problem:
            yield Finding(
                severity="error",
                check="schema",
                where=Place(feature=name, file=file),
                value=problem,
                rule="data files hold what info.json declares",
                fix="write the dataset again",
            )
    for name in sorted(set(schema.names) - set(stored)):
        yield Finding(
            severity="warning",
            check="schema",
            where=Place(feature=name, file=file),
            value="a column that info.json does not declare",
            rule="readers ignore or refuse it",
            fix="declare it, or write the dataset again without it",
        )


def readable(schema: pa.Schema, meta: DatasetMeta) -> list[str]:
    """Columns of a data file that are what they should be."""
    return [
        name
        for name, feature in meta.features.items()
        if feature["dtype"] != "video"
        and schema.names.count(name) == 1
        and column_problem(name, schema.field(name).type, feature) is None
    ]
