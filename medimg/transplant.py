"""Each test image with the rim of another patient's: an experiment that asks whether the network reads the rim.

A marker, a collimator's edge or burned-in text stands in the rim; the finding, as a rule, does not. The donor is drawn
by lot, so a score that follows the donor's label can know it from nothing but the rim. The seam that the graft leaves
is in images of every label alike.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from medimg.files import sha256
from medimg.records import TRANSPLANTS, TRANSPLANTS_SCHEMA, write_table
from medimg.regions import rim_of


def donors(samples: np.ndarray, patients: np.ndarray, seed: int) -> np.ndarray:
    """Position of each image's donor, ``(N,)`` int64; -1 for all where there is one patient only.

    Each patient is given the next in an order drawn by keyed hash, so that donor and receiver differ and each patient
    gives once; the images of a patient take the donor's images in turn. The order of rows has no say.
    """
    found = np.full(len(samples), -1, np.int64)
    people = sorted(set(patients.tolist()), key=lambda name: sha256(f"{seed}/transplant/{name}".encode()))
    if len(people) < 2:
        return found
    place = np.argsort(samples, kind="stable")
    images = {name: place[patients[place] == name] for name in people}
    for name, giver in zip(people, [*people[1:], people[0]], strict=True):
        mine, theirs = images[name], images[giver]
        found[mine] = theirs[np.arange(len(mine)) % len(theirs)]
    return found


def grafted(images: np.ndarray, rows: np.ndarray, givers: np.ndarray, share: float, batch: int) -> Iterator[np.ndarray]:
    """Images ``rows`` with the rim of images ``givers``, ``(≤ batch, C, …, H, W)`` in their own dtype, in order."""
    mask = rim_of(images.shape[-2], images.shape[-1], share)
    for start in range(0, len(rows), batch):
        chosen = slice(start, start + batch)
        mixed = np.array(images[rows[chosen]])
        mixed[..., mask] = images[givers[chosen]][..., mask]
        yield mixed


def transplant(
    about: pd.DataFrame,
    images: np.ndarray,
    rows: np.ndarray,
    score: Callable[[Iterator[np.ndarray]], np.ndarray],
    *,
    share: float,
    batch: int,
    seed: int,
) -> None:
    """Score every test image with another patient's rim: ``artifacts/transplants.parquet``.

    Args:
        about: sample and patient of each.
        images: the store's, memory-mapped.
        rows: of the images in it, ``(N,)``.
        score: batches of images → probabilities ``(N, K)``.
        share: width of the rim, ``evaluate.shortcuts.rim``.
        batch: images at a time.
        seed: of the lot.
    """
    giver = donors(about["sample"].to_numpy(str), about["patient"].to_numpy(str), seed)
    there = np.flatnonzero(giver >= 0)
    mixed = grafted(images, rows[there], rows[giver[there]], share, batch)
    probabilities = list(score(mixed)) if len(there) else []
    table = pd.DataFrame(
        {
            "sample": about["sample"].to_numpy()[there],
            "donor": about["sample"].to_numpy()[giver[there]],
            "probabilities": probabilities,
        }
    )
    write_table(TRANSPLANTS, table, TRANSPLANTS_SCHEMA)
