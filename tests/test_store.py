import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from medimg.errors import DataError
from medimg.params import Preprocess
from medimg.preprocess.intensity import coding
from medimg.store import Geometry, Row, Store, rebuild

GEOMETRY = Geometry((20, 30), (0.5, 0.25), None, ((2.0, 0.0, -1.0), (0.0, 3.0, 0.5), (0.0, 0.0, 1.0)))


def row(value):
    return Row(np.full((1, 4, 4), value, np.uint8), GEOMETRY)


def build(folder, keys, before=None, values=None):
    with rebuild(folder, keys, np.dtype("uint8"), before=before) as store:
        for key in sorted(store.missing):
            store.put(key, row(values[key] if values else int(key, 16)))


def files(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_a_sample_comes_back_with_its_geometry(tmp_path):
    build(tmp_path / "store", {"s1": "0a", "s2": "0b", "s3": "0a"})
    store = Store.open(tmp_path / "store")
    assert store.images.shape == (2, 1, 4, 4)
    assert store.images[store.rows(["s3", "s2", "s1"])][:, 0, 0, 0].tolist() == [10, 11, 10]
    assert store.at(0).geometry == GEOMETRY


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_level_of_background_is_where_a_value_of_0_is_stored(tmp_path, dtype):
    for intensity in ("scale", "zscore"):
        coded = coding(Preprocess(intensity=intensity, dtype=dtype))
        with rebuild(
            tmp_path / "store", {"s": intensity}, coded.dtype, scale=coded.scale, offset=coded.offset
        ) as store:
            store.put(intensity, Row(coded.encode(np.zeros((1, 4, 4), np.float32)), GEOMETRY))
        found = Store.open(tmp_path / "store")
        assert float(found.images.max()) / np.iinfo(coded.dtype).max == found.level
        assert (found.level > 0) == (intensity == "zscore")


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
    with pytest.raises(KeyError), rebuild(tmp_path / "store", {"s1": "0a", "s2": "0b"}, np.dtype("uint8")):
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
    about = tmp_path / "store" / "store.json"
    known = json.loads(about.read_text())
    for name in known.keys() - {"dtype", "samples_sha256"}:  # for rebuild and check_tables alone
        about.write_text(json.dumps({key: value for key, value in known.items() if key != name}))
        with pytest.raises(DataError, match="no whole store"):
            Store.open(tmp_path / "store")
    about.write_text(json.dumps(known))
    np.save(tmp_path / "store" / "images.npy", np.zeros((5, 1, 4, 4), np.uint8))
    with pytest.raises(DataError, match="is not whole"):
        Store.open(tmp_path / "store")


RANDOM = np.random.default_rng(0)


def ragged_rows():
    shapes = {f"{number:02x}": tuple(RANDOM.integers(1, 9, 3)) for number in range(12)}
    return {
        key: Row(
            RANDOM.integers(0, 65535, (1, *shape)).astype(np.uint16),
            Geometry(shape, (1.0, 2.0, 3.0)),
            RANDOM.integers(0, 3, (1, *shape)).astype(np.uint8) if int(key, 16) % 3 else None,
        )
        for key, shape in shapes.items()
    }


def put_all(folder, rows, before=None, chosen=None, **options):
    keys = {f"s{key}": key for key in chosen or rows}
    with rebuild(folder, keys, np.dtype("uint16"), ragged=True, before=before, **options) as store:
        for key in sorted(store.missing, key=hash):
            store.put(key, rows[key])


def test_rows_of_many_shapes_and_their_masks_come_back_and_their_layout_too(tmp_path):
    rows = ragged_rows()
    put_all(tmp_path / "once", rows, scale=0.5, offset=-3.0)
    put_all(tmp_path / "grown", rows, chosen=list(rows)[::2], scale=0.5, offset=-3.0)
    put_all(tmp_path / "grown", rows, Store.open(tmp_path / "grown"), scale=0.5, offset=-3.0)
    assert files(tmp_path / "once") == files(tmp_path / "grown")
    store = Store.open(tmp_path / "grown")
    assert (store.scale, store.offset, store.ragged, len(store.images)) == (0.5, -3.0, True, 12)
    for key, expected in rows.items():
        (number,) = store.rows([f"s{key}"])
        assert np.array_equal(store.images[number], expected.image)
        found = store.at(int(store.samples["sample"].searchsorted(f"s{key}")))
        assert found.geometry == expected.geometry
        assert (found.mask is None) == (expected.mask is None)
        assert expected.mask is None or np.array_equal(store.masks[number], expected.mask)


def test_masks_of_one_shape_stand_beside_the_images_and_zeros_where_there_is_none(tmp_path):
    mask = np.eye(4, dtype=np.uint8)[None]
    with rebuild(tmp_path / "store", {"s1": "0a", "s2": "0b"}, np.dtype("uint8")) as store:
        store.put("0b", Row(row(2).image, GEOMETRY, mask))
        store.put("0a", row(1))
    store = Store.open(tmp_path / "store")
    assert np.array_equal(store.masks[store.rows(["s1", "s2"])], [np.zeros_like(mask), mask])
    assert store.samples["masked"].tolist() == [False, True]


def test_rows_of_many_shapes_are_refused_where_one_is_promised(tmp_path):
    with pytest.raises(ValueError, match="rows of 2 shapes"):
        with rebuild(tmp_path / "store", {"s1": "0a", "s2": "0b"}, np.dtype("uint8")) as store:
            store.put("0a", row(1))
            store.put("0b", Row(np.zeros((1, 4, 5), np.uint8), GEOMETRY))


def test_a_row_that_rotted_is_computed_again_and_not_copied(tmp_path):
    keys = {"s1": "0a", "s2": "0b"}
    build(tmp_path / "store", keys)
    whole = files(tmp_path / "store")
    path = tmp_path / "store" / "images.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with rebuild(tmp_path / "store", keys, np.dtype("uint8"), before=Store.open(tmp_path / "store")) as store:
        assert store.missing == {"0b"}
        store.put("0b", row(11))
    assert files(tmp_path / "store") == whole


@pytest.mark.parametrize("cut", [0, 1, 20])
def test_a_build_that_was_cut_off_is_finished_with_what_it_had(tmp_path, cut):
    keys = {f"s{number}": f"{number:02x}" for number in range(4)}
    with pytest.raises(InterruptedError), rebuild(tmp_path / "store", keys, np.dtype("uint8")) as store:
        store.put("03", row(3))
        store.put("01", row(1))
        raise InterruptedError
    (journal,) = (tmp_path / ".spool-store").glob("journal-*")
    journal.write_bytes(journal.read_bytes()[: -cut or None])  # as a killed process leaves it
    with rebuild(tmp_path / "store", keys, np.dtype("uint8")) as store:
        assert store.missing == ({"00", "02"} if cut < 2 else {"00", "01", "02"})
        for key in store.missing:
            store.put(key, row(int(key, 16)))
    build(tmp_path / "once", keys)
    assert files(tmp_path / "once") == files(tmp_path / "store")
    assert sorted(os.listdir(tmp_path)) == ["once", "store"]


def test_a_sample_that_is_dropped_is_not_in_the_store(tmp_path):
    with rebuild(tmp_path / "store", {"s1": "0a", "s2": "0b"}, np.dtype("uint8")) as store:
        store.put("0b", row(2))
        store.drop("0a")
    build(tmp_path / "once", {"s2": "0b"}, values={"0b": 2})
    assert files(tmp_path / "once") == files(tmp_path / "store")


def test_what_lies_on_the_stored_grid_goes_back_to_the_original_one():
    back = ((0.0, -1.0, 5.0), (1.0, 0.0, 2.0), (0.0, 0.0, 1.0))  # turned, and cut out of it
    stored = np.arange(12, dtype=np.uint8).reshape(1, 3, 4) + 1
    restored = Geometry((6, 8), to_original=back).restore(stored, nearest=True)
    expected = np.zeros((1, 6, 8), np.uint8)
    for row_, column in np.ndindex(3, 4):
        expected[0, 5 - column, row_ + 2] = stored[0, row_, column]
    assert np.array_equal(restored, expected)
