"""What is unlike the training data: known answers."""

import numpy as np
import pytest

from medimg.familiar import INTENSITIES, KINDS, SIZES, Familiar, Space, collected, intensities


def test_the_distance_is_in_standard_deviations_along_and_across_the_main_directions() -> None:
    generator = np.random.default_rng(0)
    spread = np.array([5.0, 2.0, 0.1, 0.1, 0.1, 0.1])
    space = Space.fit((generator.normal(size=(4000, 6)) * spread + 7).astype(np.float32))
    centre = np.full((1, 6), 7.0)
    along, across = centre.copy(), centre.copy()
    along[0, 0] += 10  # two standard deviations
    across[0, 5] += 10  # a hundred
    assert space.distance(centre)[0] < 0.1
    assert space.distance(along)[0] == pytest.approx(2 / np.sqrt(6), rel=0.1)
    assert space.distance(across)[0] == pytest.approx(100 / np.sqrt(6), rel=0.1)
    assert space.distance(along @ np.eye(6))[0] < space.distance(across)[0]


def test_the_measures_of_an_image_are_those_of_its_pixels() -> None:
    image = np.zeros((1, 4, 4), np.uint8)
    image[:, :, 2:] = 255
    found = intensities(image)
    assert list(found) == list(INTENSITIES)
    assert found["mean"] == found["p50"] == found["std"] == pytest.approx(0.5)
    assert (found["p5"], found["p95"]) == (0, 1)
    assert found["sharpness"] == pytest.approx(1 / 3)  # one step in three along a row
    assert intensities(image.astype(np.uint16) * 257) == pytest.approx(found)


def familiar() -> Familiar:
    about = {
        "kinds": {name: {"": 3} for name in KINDS} | {"modality": {"DX": 9}, "view": {"PA": 5, "": 4}},
        "ranges": {"spacing_row": [0.1, 0.4], "height": [500.0, 3000.0]},
        "unknown": {"spacing_row": 0, "spacing_column": 9, "height": 0, "width": 0},
        "intensities": {name: [0.2, 0.8] for name in INTENSITIES},
        "distance": None,
    }
    return Familiar(about, None)


def facts(**changed: object) -> dict[str, object]:
    return dict.fromkeys((*KINDS, *SIZES)) | {"modality": "DX", "spacing_row": 0.2, "height": 1000} | changed


@pytest.mark.parametrize(
    ("changed", "mean", "flags"),
    [
        ({}, 0.5, []),
        ({"view": "PA"}, 0.5, []),
        ({"modality": "CT"}, 0.5, ["modality"]),
        ({"modality": None}, 0.5, ["modality unknown"]),
        ({"view": "LL", "spacing_row": 0.41}, 0.5, ["view", "spacing"]),
        ({"spacing_row": None}, 0.5, ["spacing"]),
        ({"height": 499}, 0.9, ["size", "intensity"]),
        ({"width": 5}, 0.5, []),
        ({"spacing_row": float("nan")}, 0.5, ["spacing"]),
    ],
)
def test_what_never_occurred_is_named_and_what_did_is_not(
    changed: dict[str, object], mean: float, flags: list[str]
) -> None:
    assert familiar().strange(facts(**changed), dict.fromkeys(INTENSITIES, 0.5) | {"mean": mean}) == flags


def test_of_an_ensemble_the_features_are_those_of_its_first_network() -> None:
    import torch

    from medimg.models.architecture import Architecture

    several = Architecture("mlp", (1, 8, 8), 1, 4, members=3).network(0)
    images = torch.rand(5, 1, 8, 8)
    with collected(several) as together, collected(several.alone()[0]) as alone:
        several(images)
    with collected(several.alone()[1]) as other:
        several.alone()[1](images)
    assert np.array_equal(together[0], alone[0]) and together[0].shape == (5, 4)
    assert not np.array_equal(together[0], other[0])


def test_without_features_nothing_is_far() -> None:
    share, far = familiar().far(np.ones((3, 2)))
    assert np.isnan(share).all() and not far.any()


def test_features_that_are_no_numbers_are_far_from_all_that_is_known() -> None:
    space = Space.fit(np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32))
    share, far = Familiar(familiar().about | {"distance": 5.0}, space).far(np.array([[0, 0, 0], [np.nan, 0, 0]]))
    assert share[0] < 1 and np.isnan(share[1])
    assert far.tolist() == [False, True]


def policy(**changed: bool) -> dict[str, bool]:
    return {"retain_device": True, "clean_pixels": False} | changed


def test_what_every_import_removed_is_not_held_against_a_raw_header() -> None:
    given = facts(manufacturer="Acme", model="Ray 1")
    numbers = dict.fromkeys(INTENSITIES, 0.5)

    def flags(*policies: dict[str, bool]) -> list[str]:
        return Familiar(familiar().about | {"policies": list(policies)}, None).strange(given, numbers)

    removing = policy(retain_device=False)
    assert flags() == flags(policy()) == flags(removing, policy()) == ["manufacturer", "model"]
    assert flags(removing) == flags(removing, removing) == []
    assert Familiar(familiar().about | {"policies": [removing]}, None).not_compared == [
        "manufacturer",
        "model",
        "features",
    ]


def test_the_bundle_says_whether_imports_told_patients_apart_by_issuer() -> None:
    for policies, expected in (([], False), ([policy()], False), ([policy(issuer_of_patient_id=True)], True)):
        assert Familiar(familiar().about | {"policies": policies}, None).issuers is expected
    assert not familiar().issuers  # a bundle of before


def test_where_imports_masked_pixels_another_coding_of_colour_is_no_flag() -> None:
    numbers = dict.fromkeys(INTENSITIES, 0.5)
    about = familiar().about
    about |= {"kinds": about["kinds"] | {"photometric": {"RGB": 9}}}
    for policies, colour, expected in (
        ([policy()], "YBR_FULL_422", ["photometric"]),
        ([policy(clean_pixels=True)], "YBR_FULL_422", []),
        ([policy(clean_pixels=True)], "MONOCHROME2", ["photometric"]),
    ):
        found = Familiar(about | {"policies": policies}, None).strange(facts(photometric=colour), numbers)
        assert found == expected
