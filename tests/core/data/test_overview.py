"""What is unusual about a converted dataset."""

from pathlib import Path

import pytest

from recap_core.data.overview import Overview, read_overview, sanity_warnings

USUAL = Overview(
    num_episodes=10,
    num_frames=1000,
    num_successes=3,
    num_intervention_frames=327,
    num_paused_frames=0,
    num_demonstrations=0,
    state_dims=14,
    cameras=("observation.images.head_camera",),
)


def test_counts_of_a_known_dataset(dataset: Path) -> None:
    """46 frames, five corrected, one paused; two of four episodes succeeded."""
    overview = read_overview(dataset)

    assert overview[:6] == (4, 46, 2, 5, 1, 0)
    assert (overview.state_dims, len(overview.cameras)) == (14, 3)
    assert (overview.success_share, overview.intervention_share) == (0.5, 5 / 46)


@pytest.mark.parametrize(
    "usual", [USUAL, USUAL._replace(num_intervention_frames=100, num_successes=7)]
)
def test_what_is_within_the_bands_is_not_mentioned(usual: Overview) -> None:
    """The reference dataset: 3 of 10 succeeded, 32.7 % corrected; and the bands' edges."""
    assert sanity_warnings(usual) == []


@pytest.mark.parametrize(
    ("unusual", "message"),
    [
        (USUAL._replace(state_dims=28), "leader arms are in it"),
        (USUAL._replace(num_intervention_frames=0), "adv_ind is none throughout"),
        (USUAL._replace(num_intervention_frames=99), "9.9% of the frames were corrected, below"),
        (USUAL._replace(num_intervention_frames=601), "60.1% of the frames were corrected, above"),
        (USUAL._replace(num_successes=0), "value_label is -1 throughout"),
        (USUAL._replace(num_successes=1), "10% of the episodes succeeded, below 20%"),
        (USUAL._replace(num_successes=8), "80% of the episodes succeeded, above 70%"),
        (USUAL._replace(num_successes=10), "no episode failed"),
    ],
)
def test_what_is_outside_is_explained(unusual: Overview, message: str) -> None:
    """One warning each, with its meaning."""
    (warning,) = sanity_warnings(unusual)

    assert message in warning


def test_demonstrations_have_no_bands() -> None:
    """All human, all successful."""
    everything = {"num_successes": 10, "num_intervention_frames": 1000, "num_demonstrations": 10}

    assert sanity_warnings(USUAL._replace(**everything)) == []
