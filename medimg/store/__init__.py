"""The store: preprocessed samples as memory-mapped arrays, and the geometry that leads back to the original grid.

A folder of three or four files. ``images.npy`` has a row for each distinct key, sorted by key: ``(rows, C, H, W)`` or
``(rows, C, D, H, W)`` where all rows have one shape; else one after the other in one dimension (ragged).
``masks.npy``, where any sample has a mask, is the same with one channel. ``samples.parquet`` says which row each
sample has, the SHA-256 of that row, and what its original grid was; ``store.json`` says what the rest is. The layout
depends on the set of samples alone, so a rebuild is byte-equal. The folder is replaced whole, never written into: DVC
may have hard-linked its files into the cache.
"""

from medimg.store.build import rebuild
from medimg.store.geometry import Geometry
from medimg.store.reading import Ragged, Row, Store, check_tables, samples_in

__all__ = ["Geometry", "Ragged", "Row", "Store", "check_tables", "rebuild", "samples_in"]
