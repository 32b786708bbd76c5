import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from medimg.errors import DataError
from medimg.store import Geometry, Row, Store, rebuild

GEOMETRY = Geometry(20, 30, 0.5, None)


def row(value):
    return Row(np.full((1, 4, 4), value, np.uint8), GEOMETRY)


def build(folder, keys, before=None, values=None):
    with rebuild(folder, keys, (1, 4, 4), np.dtype("uint8"), before) as store:
        for key in sorted(set(keys.values()) - set(before.keys if before else ())):
            store.put(key, row(values[key] if values else int(key, 16)))


def files(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_a_sample_comes_back_with_its_geometry(tmp_path):
    build(tmp_path / "store", {"s1": "0a", "s2": "0b", "s3": "0a"})
    store = Store.open(tmp_path / "store")
    assert store.images.shape == (2, 1, 4, 4)
    assert store.images[store.rows(["s3", "s2", "s1"])][:, 0, 0, 0].tolist() == [10, 11, 10]
    assert store.at(0).geometry == GEOMETRY


def test_the_layout_is_a_function_of_the_samples_however_it_was_built(tmp_path):
    keys = {f"s{number}": f"{number:02x}" for number in range(10)}
    build(tmp_path / "once", keys)
    build(tmp_path / "grown", dict(list(keys.items())[3:]))
    build(tmp_path / "grown", dict(reversed(keys.items())), Store.open(tmp_path / "grown"))
    assert files(tmp_path / "once") == files(tmp_path / "grown")


def test_rows_with_a_known_key_are_copied_and_not_computed_again(tmp_path):
    build(tmp_path / "store", {"s1": "0a"}, values={"0a": 99})
    build(tmp_path / "store", {"s1": "0a", "s2": "0b"}, Store.open(tmp_path / "store"))
    store = Store.open(tmp_path / "store")
    assert store.images[store.rows(["s1", "s2"])][:, 0, 0, 0].tolist() == [99, 11]


def test_a_build_that_fails_leaves_the_store_as_it_was(tmp_path):
    build(tmp_path / "store", {"s1": "0a"})
    before = files(tmp_path / "store")
    with pytest.raises(KeyError), rebuild(tmp_path / "store", {"s1": "0a", "s2": "0b"}, (1, 4, 4), np.dtype("uint8")):
        pass  # no row was put
    assert files(tmp_path / "store") == before
    assert os.listdir(tmp_path) == ["store"]


def test_a_rebuild_does_not_write_into_files_that_a_cache_has_hard_linked(tmp_path):
    build(tmp_path / "store", {"s1": "0a"})
    shutil.copytree(tmp_path / "store", tmp_path / "cache", copy_function=os.link)
    before = files(tmp_path / "cache")
    build(tmp_path / "store", {"s1": "0c"}, Store.open(tmp_path / "store"))
    assert files(tmp_path / "cache") == before


def test_a_store_that_is_not_whole_is_refused(tmp_path):
    with pytest.raises(DataError, match="no whole store"):
        Store.open(tmp_path / "none")
    build(tmp_path / "store", {"s1": "0a"})
    np.save(tmp_path / "store" / "images.npy", np.zeros((5, 1, 4, 4), np.uint8))
    with pytest.raises(DataError, match="is not whole"):
        Store.open(tmp_path / "store")
