"""The learning curves as a picture, and as a summary what the epochs have shown."""

from pathlib import Path

import numpy as np
import pandas as pd

from medimg.files import publish


def draw(history: pd.DataFrame, best: list[int], score_name: str, path: Path) -> None:
    """Losses, score and learning rate by epoch, as PNG; the best epoch is marked.

    Args:
        history: as in history.csv; with several networks, their rows one after the other.
        best: epoch of the weights that were kept of each network, from 0.
        score_name: what the score is.
        path: of the picture.
    """
    from matplotlib.figure import Figure

    networks = [rows for _, rows in history.groupby("fold" if "fold" in history else np.zeros(len(history)))]
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    panels = figure.subplots(1, 3)
    for rows, kept in zip(networks, best, strict=True):
        epochs, first = rows["epoch"] + 1, rows is networks[0]
        for name, label, colour in (("train_loss", "train", "C0"), ("validation_loss", "validation", "C1")):
            panels[0].plot(epochs, rows[name], marker=".", color=colour, label=label if first else None)
        panels[1].plot(epochs, rows["validation_score"], marker=".", color="C0")
        panels[2].plot(epochs, rows["learning_rate"], marker=".", color="C0")
        for panel in panels:
            panel.axvline(kept + 1, color="0.7", linewidth=1, zorder=0)
    panels[0].set_title("loss")
    panels[0].legend(frameon=False)
    panels[1].set_title(f"validation: {score_name}", fontsize="medium")
    panels[2].set_title("learning rate at the epoch's end")
    for panel in panels:
        panel.set_xlabel("epoch")
        panel.spines[["top", "right"]].set_visible(False)
    with publish(path) as partial:
        figure.savefig(partial, format="png", dpi=120, metadata={"Software": None})
