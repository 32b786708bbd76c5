"""medimg: from hospital images to an evaluated model with one ``dvc repro``."""

__version__ = "0.1.0"
