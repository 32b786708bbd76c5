"""What is seen of data at first contact: known answers."""

import pytest

from medimg.images import Facts
from medimg.survey import Survey


def facts(kind: str, series: str | None, modality: str | None, depth: int) -> Facts:
    return Facts(kind, 1, 64, 48, 12, "MONOCHROME2", series=series, modality=modality, depth=depth)


@pytest.mark.parametrize(
    ("found", "rows", "volumes"),
    [
        ([facts("dicom", f"1.{at // 8}", "MR", 1) for at in range(32)], 32, True),
        ([facts("dicom", f"1.{at // 2}", "MR", 1) for at in range(32)], 320, True),  # every tenth file is looked at
        ([facts("dicom", f"1.{at // 2}", "MR", 1) for at in range(32)], 32, False),
        ([facts("dicom", f"1.{at // 8}", "DX", 1) for at in range(32)], 32, False),
        ([facts("nifti", None, None, 30) for _ in range(5)], 5, True),
        ([facts("nifti", None, None, 1) for _ in range(5)], 5, False),
        ([facts("png", None, None, 1) for _ in range(5)] + [facts("nifti", None, None, 30)], 6, False),
    ],
)
def test_what_a_sample_is(found: list[Facts], rows: int, volumes: bool) -> None:
    survey = Survey([{"path": str(at), "patient": str(at)} for at in range(rows)], [], found)
    assert bool(survey.volumes) is volumes
    assert survey.side == 64
