"""The contact sheet: what the network will see of a few images, raw, preprocessed and augmented, as a picture.

Beside it stands what a preset does to more images than a person looks at, and a warning where it destroys them.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from medimg.augment import augment_masks, draw_mixture, mix
from medimg.files import publish, write_json
from medimg.params import Augment, Preview
from medimg.params.geometry import Geometry as Stacking
from medimg.preview.checks import CHECKED, Findings, augmented, one
from medimg.preview.raw import raw
from medimg.preview.sheet import Line, Shown, sheet
from medimg.records import INDEX, INDEX_SCHEMA, PREVIEW, PREVIEW_FINDINGS, STORE, read_table
from medimg.store import Store
from medimg.tasks import Task
from medimg.training.data import Part, read_parts

if TYPE_CHECKING:
    from torch import Tensor


def preview(task: Task, seed: int, settings: Preview, augmentation: Augment, stacking: Stacking | None = None) -> None:
    """Write ``artifacts/preview.png`` and ``artifacts/preview.json``.

    The sheet shows ``settings.samples`` training images, of each class and site in turn.

    Args:
        task: what is learned.
        seed: ``study.seed``.
        settings: the block ``preview``.
        augmentation: the block ``augment``.
        stacking: how volumes are put together, ``ingest.geometry``; None: samples are images.
    """
    part = read_parts(task, "train")["train"]
    index = read_table(INDEX, INDEX_SCHEMA).set_index("sample")
    truths = task.describe(part.truth)
    sites = index["site"].reindex(part.about["sample"]).fillna("").tolist()
    shown = _chosen(truths, sites, settings.samples)
    findings = _findings(part, _chosen(truths, sites, CHECKED), seed, settings.draws, augmentation)
    lines = [
        Line(
            truths[at],
            sites[at] if len(set(sites)) > 1 else "",
            raw(index.loc[part.about["sample"].iloc[at]], stacking),
            *pictures,
        )
        for at, pictures in zip(shown, _pictures(part, shown, seed, settings.draws, augmentation), strict=True)
    ]
    with publish(PREVIEW) as partial:
        sheet(lines, findings.warnings()).savefig(partial, format="png", dpi=100, metadata={"Software": None})
    write_json(PREVIEW_FINDINGS, findings.record())
    print(f"{len(shown)} of {len(part)} training images in {PREVIEW}")
    for warning in findings.warnings():
        print(f"warning: {warning}")


def _chosen(truths: list[str], sites: list[str], samples: int) -> np.ndarray:
    """Positions of the first samples of each class and site in turn, int64 ``(≤ samples,)``, a class together."""
    table = pd.DataFrame({"truth": truths, "site": sites})
    table["turn"] = table.groupby(["truth", "site"]).cumcount()
    chosen = table.sort_values("turn", kind="stable").index[:samples]  # samples are sorted by hash: a fair draw
    order = table.loc[chosen].sort_values(["truth", "site", "turn"], ascending=[False, True, True])
    return order.index.to_numpy()


def _pictures(
    part: Part, positions: np.ndarray, seed: int, draws: int, augmentation: Augment
) -> list[tuple[Shown, list[Shown]]]:
    """Of each sample: preprocessed, then augmented as in the first epochs, ``(C, …)`` in 0…1, with its mask."""
    import torch

    store = Store.open(STORE)
    plain, masks = [one(part, at) for at in positions], [_mask(store, part, at) for at in positions]
    found: list[tuple[Shown, list[Shown]]] = [
        (Shown(image[0].numpy(), None if mask is None else mask[0].numpy()), [])
        for image, mask in zip(plain, masks, strict=True)
    ]
    for epoch in range(draws):
        changed = [augmented(part, at, seed, epoch, augmentation) for at in positions]
        images = [image[0] for image, _ in changed]
        mixed: set[int] = set()
        if augmentation.mixes and len({image.shape for image in images}) == 1:  # with the sample below
            shape = tuple(plain[0].shape[2:])
            mixture = draw_mixture(augmentation, seed, epoch, part.numbers[positions], shape)
            mixture = mixture._replace(other=(mixture.at + 1) % len(positions))
            images, mixed = list(mix(torch.stack(images), mixture, len(positions))), set(mixture.at.tolist())
        for at, (image, mask, (_, drawn)) in enumerate(zip(images, masks, changed, strict=True)):
            moved = None if mask is None or at in mixed else augment_masks(mask, drawn)[0].numpy()
            found[at][1].append(Shown(image.numpy(), moved))
    return found


def _mask(store: Store, part: Part, at: int) -> "Tensor | None":
    """A sample's mask, ``(1, 1, …)`` uint8."""
    import torch

    mask = store.at(int(store.samples["sample"].searchsorted(part.about["sample"].iloc[at]))).mask
    return None if mask is None else torch.from_numpy(np.array(mask)[None])


def _findings(part: Part, positions: np.ndarray, seed: int, draws: int, augmentation: Augment) -> Findings:
    store = Store.open(STORE)
    found: list[dict[str, Any]] = []
    for at in positions:
        found += Findings.of(part, at, store, seed, draws, augmentation)
    return Findings(pd.DataFrame(found), augmentation.preset)
