"""Reliability of V: expected beside realised, on frames made up to be off by a known amount."""

import numpy as np
import pytest

from recap_core.valuation.calibration import CalibrationFrames, calibrate


def _frames(values: np.ndarray, targets: np.ndarray, *, per_episode: int) -> CalibrationFrames:
    """Episodes of ``per_episode`` frames; every other one succeeds."""
    episode = np.arange(len(values)) // per_episode
    to_go = per_episode - 1 - np.arange(len(values)) % per_episode
    return CalibrationFrames(values, targets, episode, to_go, episode % 2 == 0)


def test_a_calibrated_model_has_no_error() -> None:
    """V equal to its target: every bin lies on the line, whatever is resampled."""
    values = np.tile([-0.95, -0.55, -0.15, -0.05], 4)

    found = calibrate(_frames(values, values, per_episode=4), num_bootstrap=100)

    assert found.error == (0, 0, 0)
    assert [row.num_frames for row in found.bins] == [4, 4, 4, 4]
    for row in found.bins:
        assert row.realised == pytest.approx((row.expected,) * 3)


def test_two_bins_by_hand() -> None:
    """Six frames at -0.75 that were worth -1, two at -0.25 worth 0: all are off by 1/4."""
    values = np.array([-0.75, -0.75, -0.75, -0.25] * 2)
    targets = np.where(values < -0.5, -1.0, 0.0)

    found = calibrate(_frames(values, targets, per_episode=4), num_bootstrap=100)

    assert found.error.estimate == pytest.approx(0.25)
    low, high = found.bins
    assert (low.low, low.high) == pytest.approx((-0.8, -0.7))
    assert (low.expected, low.realised.estimate) == pytest.approx((-0.75, -1.0))
    assert (high.num_frames, high.num_episodes) == (2, 2)
    # Of the success (episode 0) three frames are in the low bin: 3, 2 and 1 frames to go.
    assert low.frames_to_success == pytest.approx(2)
    assert high.frames_to_success == 0


def test_errors_of_opposite_sign_in_one_bin_cancel() -> None:
    """Calibration is about means: half at 0, half at -1, foretold as -0.5, is calibrated."""
    values = np.full(8, -0.5)
    targets = np.repeat([0.0, -1.0, 0.0, -1.0], 2)

    found = calibrate(_frames(values, targets, per_episode=2), num_bootstrap=100)

    assert found.error.estimate == pytest.approx(0)
    (row,) = found.bins
    assert row.realised.estimate == pytest.approx(-0.5)
    success, failure = found.by_outcome
    assert (success.success, success.expected, success.realised) == (True, -0.5, 0.0)
    assert (failure.num_episodes, failure.realised) == (2, -1.0)


def test_intervals_come_from_episodes_not_frames() -> None:
    """A hundred frames of two episodes are two pieces of evidence: the interval spans both."""
    values = np.full(200, -0.55)
    targets = np.repeat([-0.1, -0.9], 100)
    frames = _frames(values, targets, per_episode=100)._replace(success=np.ones(200, bool))

    (row,) = calibrate(frames, num_bootstrap=500).bins

    assert row.realised.low == pytest.approx(-0.9)
    assert row.realised.high == pytest.approx(-0.1)


def test_values_at_the_ends_have_a_bin() -> None:
    """-1 and 0 belong to the first and the last of the ten."""
    values = np.array([-1.0, 0.0])

    found = calibrate(_frames(values, values, per_episode=1), num_bootstrap=100)

    assert [(row.low, row.high) for row in found.bins] == [(-1.0, -0.9), (pytest.approx(-0.1), 0)]


def test_numbers_that_are_none_have_no_calibration() -> None:
    """A model that diverged."""
    values = np.array([np.nan, -0.5])

    found = calibrate(_frames(values, np.zeros(2), per_episode=1), num_bootstrap=100)

    assert found.bins == ()
    assert np.isnan(found.error.estimate)
