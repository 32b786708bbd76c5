"""Which model is in use: registry/champion.yaml, and how to come by its bundle.

``registry/champion.yaml`` in Git is the one place that says so. ``registry/champion.dvc`` beside it lets DVC push and
fetch the bundle, as it does with data. ``artifacts/bundle`` is another thing: the latest challenger, refused or not.
"""

from medimg.promote.champion import CHAMPION, Bundle, Champion, champion_bundle, materialise, read_champion
from medimg.promote.history import HISTORY, append, head, read_history

__all__ = [
    "CHAMPION",
    "HISTORY",
    "Bundle",
    "Champion",
    "append",
    "champion_bundle",
    "head",
    "materialise",
    "read_champion",
    "read_history",
]
