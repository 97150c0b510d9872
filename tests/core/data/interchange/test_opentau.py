"""OpenTau's advantages by episode and time."""

import json
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings

from recap_core.config.interchange import ExportLabelsConfig
from recap_core.data.frames import FrameTable
from recap_core.data.interchange.exchanged import ExchangedLabels
from recap_core.data.interchange.opentau import read_opentau, write_opentau
from recap_core.errors import ColumnError, DataError
from tests.core.data.interchange import made_up
from tests.core.data.interchange.made_up import NUM_FRAMES

FILE = "meta/advantages.json"


def write(table: FrameTable, root: Path, found: ExchangedLabels, **options: object) -> float:
    config = ExportLabelsConfig.model_validate({"tool": "opentau", **options})
    return write_opentau(root, table, found, config)


def entries(table: FrameTable) -> dict[str, str]:
    """As OpenTau writes it: a float32 time as a Python number, the advantage with six digits."""
    lengths = table.episode_lengths.tolist()
    frames = [(e, t) for e, length in enumerate(lengths) for t in range(length)]
    return {f"{e},{np.float32(t / 10).item()}": f"{(t - 5) / 10:.6f}" for e, t in frames}


def test_a_file_of_opentaus_is_read(table: FrameTable, tmp_path: Path) -> None:
    """A frame is positive from the threshold upwards, as OpenTau's policy compares."""
    made_up.write_json(tmp_path / FILE, entries(table))

    found = read_opentau(tmp_path, table, threshold=0.2)

    assert found.labels.advantage[:9].tolist() == pytest.approx(np.arange(-5, 4) / 10)
    assert found.labels.adv_ind[:9].tolist() == [1] * 7 + [2] * 2
    assert found.values is None


@pytest.mark.parametrize("digits", [1, 4, 17])
def test_times_may_be_rounded(table: FrameTable, tmp_path: Path, digits: int) -> None:
    """The nearest frame is meant, less than half a frame away."""
    exact = entries(table)
    rounded = {}
    for key, value in exact.items():
        episode, seconds = key.split(",")
        rounded[f"{episode},{float(seconds):.{digits}f}"] = value
    made_up.write_json(tmp_path / "exact.json", exact)
    made_up.write_json(tmp_path / "rounded.json", rounded)

    made_up.assert_same(
        read_opentau(tmp_path / "rounded.json", table, threshold=0.0),
        read_opentau(tmp_path / "exact.json", table, threshold=0.0),
    )


def test_the_keys_are_those_that_opentau_looks_up(table: FrameTable, tmp_path: Path) -> None:
    """Python's float of the float32 time: other digits would silently give advantage 0."""
    write(table, tmp_path, made_up.alternating())

    content = json.loads((tmp_path / FILE).read_text())

    times = table.column("timestamp")
    wanted = {(int(e), t.item()) for e, t in zip(table.episode_index, times, strict=True)}
    found = {(int(key.split(",")[0]), float(key.split(",")[1])) for key in content}
    assert times.dtype == np.float32
    assert found == wanted
    assert content["0,0.10000000149011612"] == "0.510000"


@settings(max_examples=20)
@given(advantage=made_up.numbers(-3, 3), others=made_up.numbers(-3, 3))
def test_what_is_written_is_read_again(
    table: FrameTable, advantage: np.ndarray, others: np.ndarray
) -> None:
    """With the threshold that writing returns, and six digits of the advantage."""
    rounded = np.round(advantage.astype(np.float64), 6).astype(ml_dtypes.bfloat16)
    adv_ind = np.where(rounded >= others.astype(ml_dtypes.bfloat16)[0], 2, 1)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        returned = write(table, root, made_up.labels(adv_ind, advantage))
        found = read_opentau(root, table, threshold=returned)

    np.testing.assert_array_equal(found.labels.adv_ind, adv_ind)
    np.testing.assert_allclose(found.labels.advantage, advantage, rtol=0, atol=6e-7)


@settings(max_examples=20)
@given(adv_ind=made_up.codes(1))
def test_any_labels_can_be_written_as_signs(table: FrameTable, adv_ind: np.ndarray) -> None:
    """+1 and -1 need no advantage, and OpenTau's own default threshold of 0 reads them."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        threshold = write(table, root, made_up.labels(adv_ind), signs=True)

        found = read_opentau(root, table, threshold=threshold)

    assert threshold == 0
    np.testing.assert_array_equal(found.labels.adv_ind, adv_ind)


def test_labels_that_no_threshold_gives_are_refused(table: FrameTable, tmp_path: Path) -> None:
    """A correction is positive whatever its advantage."""
    found = made_up.alternating()
    found.labels.adv_ind[0] = 2

    with pytest.raises(
        ColumnError, match=r"advantage -0.500000 is positive, and so would be 22 of 46"
    ):
        write(table, tmp_path, found)
    with pytest.raises(ColumnError, match="no advantages, and OpenTau's file holds nothing else"):
        write(table, tmp_path, made_up.labels(found.labels.adv_ind))
    assert not (tmp_path / FILE).exists()


def test_opentau_rounds_before_it_compares(table: FrameTable, tmp_path: Path) -> None:
    """As bfloat16, 0.5004 and 0.5005 are 0.5: the one is positive from the other upwards."""
    advantage = np.linspace(-1, 0, NUM_FRAMES, dtype=np.float32)
    advantage[[4, 5]] = [0.5004, 0.5005]
    close = made_up.labels(np.where(np.arange(NUM_FRAMES) == 5, 2, 1), advantage)

    with pytest.raises(ColumnError, match=r"so would be 1 of 46 .* \(first: frame 4, 0.500400\)"):
        write(table, tmp_path, close)
    close.labels.adv_ind[4] = 2
    threshold = write(table, tmp_path, close)

    found = read_opentau(tmp_path, table, threshold=0.5005)
    assert threshold == 0.5004
    np.testing.assert_array_equal(found.labels.adv_ind, close.labels.adv_ind)


def test_keys_that_do_not_match_are_counted_and_named(table: FrameTable, tmp_path: Path) -> None:
    """A frame without a key would get advantage 0 in OpenTau; here it is an error."""
    content = entries(table)
    del content["0,0.0"]
    content["1,0.02"] = "0.1"
    content["2,0.96"] = "0.1"
    content["9,0.0"] = "0.1"
    made_up.write_json(tmp_path / FILE, content)

    with pytest.raises(ColumnError) as caught:
        read_opentau(tmp_path, table, threshold=0.0)

    assert "1 of 46 frames are missing (first: episode 0, frame 0)" in str(caught.value)
    assert "2 of 48 rows are of no frame (first: key '2,0.96')" in str(caught.value)
    assert "1 of 46 frames have several rows (first: episode 1, frame 0)" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[1, 2]", "holds a JSON list, not numbers by"),
        ('{"0,0.0": "0.1", "0,0.0": "0.2"}', "has 1 keys twice"),
        ('{"0": "0.1"}', "keys are 'episode,seconds'"),
        ('{"zero,0.0": "0.1"}', "keys are 'episode,seconds'"),
        ('{"0,0.0": "high"}', "values are numbers"),
        ('{"0,0.0": null}', "values are numbers"),
        ('{"0,0.0": "nan"}', "every number must be finite"),
        ('{"0,0.0": NaN}', "every number must be finite"),
        ('{"0,inf": "0.1"}', "every number must be finite"),
        ('{"0,0.0": true}', "every number must be finite"),
        (f'{{"{"9" * 400},0.0": "0.1"}}', "every number must be finite"),
        (f'{{"0,0.0": {"9" * 400}}}', "values are numbers"),
        ("[" * 100_000, "cannot be read"),
        ("{}", "46 of 46 frames are missing"),
    ],
    ids=range(15),
)
def test_a_malformed_file_is_refused(
    table: FrameTable, tmp_path: Path, text: str, message: str
) -> None:
    """One clear error each."""
    path = tmp_path / "advantages.json"
    path.write_text(text)

    with pytest.raises(DataError, match=message):
        read_opentau(path, table, threshold=0.0)


def test_an_advantage_beyond_float32_is_refused(table: FrameTable, tmp_path: Path) -> None:
    """It would become infinity in our table."""
    path = made_up.write_json(tmp_path / "a.json", entries(table) | {"0,0.0": "1e300"})

    with pytest.raises(ColumnError, match=r"advantage of frame 0 in .* is 1e\+300"):
        read_opentau(path, table, threshold=0.0)


def test_a_missing_file_is_named(table: FrameTable, tmp_path: Path) -> None:
    """The dataset's path alone is enough to look for it."""
    with pytest.raises(DataError, match=r"meta/advantages.json cannot be read"):
        read_opentau(tmp_path, table, threshold=0.0)


def test_without_positives_the_threshold_is_above_all(table: FrameTable, tmp_path: Path) -> None:
    """Every frame negative is a labelling too."""
    negative = made_up.labels(np.ones(NUM_FRAMES), np.full(NUM_FRAMES, 0.25, dtype=np.float32))

    threshold = write(table, tmp_path, negative)

    found = read_opentau(tmp_path, table, threshold=threshold)
    assert set(found.labels.adv_ind.tolist()) == {1}
