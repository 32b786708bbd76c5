"""The border by an answer key that knows nothing of it; the best published MIDI-B entry had 99.93 % right."""

from pathlib import Path

import pytest
from midi_b import listed, marks, retained
from pydicom.data.data_manager import DATA_ROOT

from medimg.border import profile
from medimg.border.identity import SiteKey
from medimg.border.options import Policy

BASES = [Path(DATA_ROOT) / "test_files" / name for name in ("CT_small.dcm", "MR_small.dcm")]
OPTIONS = {
    "retain_longitudinal": "modified_dates",
    "retain_patient_characteristics": "patient",
    "clean_descriptors": "descriptors",
}


@pytest.mark.parametrize("on", [[], list(OPTIONS)], ids=["all off", "default"])
def test_nearly_all_actions_of_the_key_are_right(on: list[str]) -> None:
    policy = Policy(**{name: name in on for name in Policy.model_fields})

    def tool(data: bytes) -> bytes:
        return profile.clean(data, SiteKey(bytes(32)), "P1", policy).data

    score = marks(tool, BASES, {OPTIONS[name] for name in on})
    print(f"{score.right:.4%} of {score.asked} actions right", *score.misses, sep="\n")
    assert score.asked > 2 * len(BASES) * 1500
    assert score.right >= 0.9993, score.misses


def test_the_key_sees_a_tool_that_does_nothing_and_one_that_removes_everything() -> None:
    assert len(listed()) > 600
    assert len(list(retained())) > 1000
    score = marks(lambda data: data, BASES[:1], set())
    assert score.right < 0.75
