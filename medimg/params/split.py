"""The block ``split``: who learns, who chooses, who is kept for the answer."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medimg.params.block import Block

Share = Annotated[float, Field(ge=0, lt=1)]


class Split(Block):
    """How patients are dealt out; what is in no other part is train."""

    validation: Share = Field(0.2, description="fraction of the patients; with folds: sites, of those outside the fold")
    test: Share = Field(0.3, description="fraction of the patients; 0 when a column, sites, a batch or a fold are test")
    promotion: Share = Field(0.0, description="fraction kept apart to compare a new model with the one in use")
    stratify: tuple[Literal["label", "site", "sex", "manufacturer", "view"], ...] = Field(
        ("label",), description="what every part has its share of"
    )
    column: str | None = Field(
        None, description="a column of labels.csv that says the part of a patient; where empty, the patient is drawn"
    )
    test_sites: tuple[str, ...] = Field((), description="sites all of whose patients are test")
    test_from_batch: Annotated[int, Field(ge=1)] | None = Field(
        None, description="patients who first come with this import batch or a later one are test"
    )
    folds: Annotated[int, Field(ge=3, le=20)] | Literal["sites"] | None = Field(
        None, description="deal train and validation in as many folds, or make each site a fold"
    )
    fold: int = Field(0, ge=0, description="the fold held out in this run: validation, or test where nothing else is")
    seed: Annotated[int, Field(ge=0)] | None = Field(None, description="seed of the draw; none: study.seed")
    altered_copies: bool = Field(
        True, description="look for altered copies among images of different patients, not for equal pixels alone"
    )
    each_image_is_a_patient: bool = Field(
        False, description="an image without a patient id counts as a patient; the report then says so"
    )
    redraw: bool = Field(
        False, description="forget a ledger that other settings drew, and draw it anew; the report then says so"
    )

    @property
    def fold_is_test(self) -> bool:
        """Whether the fold is what test consists of, because nothing else is."""
        elsewhere = self.test or self.test_sites or self.test_from_batch or self.column
        return self.folds is not None and not elsewhere

    @model_validator(mode="after")
    def _something_in_each_part(self) -> "Split":
        validation = 0 if isinstance(self.folds, int) else self.validation
        total = validation + self.test + self.promotion
        if total >= 1:
            raise ValueError(
                f"validation + test + promotion = {validation:g} + {self.test:g} + {self.promotion:g} = {total:g} "
                "leaves no patient for train; let them add up to less than 1"
            )
        if not (self.test or self.test_sites or self.test_from_batch or self.column or self.folds):
            raise ValueError("nothing makes a test part: set test, test_sites, test_from_batch, column or folds")
        if self.validation == 0 and self.column is None and not isinstance(self.folds, int):
            raise ValueError("nothing makes a validation part: set validation, column or a number of folds")
        if self.test_sites and self.test:
            raise ValueError(
                f"test_sites and test: {self.test:g} would mix patients of those sites with others in one test part; "
                "set test to 0, or leave test_sites empty"
            )
        if isinstance(self.folds, int) and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} is not there: {self.folds} folds are numbered 0 to {self.folds - 1}")
        if self.folds == "sites" and not self.fold_is_test:
            raise ValueError("folds: sites makes each site the test part in turn: set test to 0 and no other test part")
        return self
