"""What the model card says of the input, for sizes of every form."""

import pytest

from medimg.evaluation.card import _fit, _input
from medimg.params import Ingest, Preprocess, load


@pytest.mark.parametrize(
    ("sample", "settings", "said", "fitted"),
    [
        ("image", {"size": 96}, "An image of 96 × 96 pixels, 1 channel(s)", "scaled to fit and padded"),
        ("image", {"size": (64, 96), "channels": 3, "fit": "stretch"}, "An image of 64 × 96 pixels, 3", "stretched"),
        ("image", {"size": None}, "An image of its own size", "Its size is kept"),
        ("volume", {"size": 64, "fit": "crop"}, "A volume of 64 × 64 × 64 voxels", "cut or padded"),
        ("volume", {"size": (16, 64, 96)}, "A volume of 16 × 64 × 96 voxels", "padded"),
    ],
)
def test_the_input_is_told_as_it_is(sample: str, settings: dict[str, object], said: str, fitted: str) -> None:
    changed = {"ingest": Ingest(sample=sample), "preprocess": Preprocess(**settings)}  # type: ignore[arg-type]
    params = load().model_copy(update=changed)
    assert said in _input(params) and fitted in _fit(params)
