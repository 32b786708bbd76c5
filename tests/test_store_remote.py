"""A store at a URL: fetched once by each machine, verified, within a bound, whatever else happens to it."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medimg.errors import DataError
from medimg.params import Preprocess
from medimg.store import Geometry, Row, Store, cache, rebuild

MASK = np.eye(4, dtype=np.uint8)[None]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDIMG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_held", {})
    return tmp_path


def build(place, name="store", first=0, rows=3, before=None):
    keys = {f"s{number}": f"{number:02x}" for number in range(first, first + rows)}
    url = (place / "shared").as_uri()
    with rebuild(place / name, keys, np.dtype("uint8"), before=before, remote=url) as store:
        for key in sorted(store.missing):
            store.put(key, Row(np.full((1, 4, 4), int(key, 16), np.uint8), Geometry((4, 4)), MASK))
    return place / name


def read(folder):
    store = Store.open(folder)
    return store.images[store.rows(store.samples["sample"])][:, 0, 0, 0].tolist()


def forget(monkeypatch):
    """As a new process would find the cache."""
    for lock in cache._held.values():
        os.close(lock)
    monkeypatch.setattr(cache, "_held", {})


def test_the_arrays_are_at_the_url_and_are_read_from_this_machine(place, monkeypatch):
    folder = build(place)
    assert sorted(path.name for path in folder.iterdir()) == ["remote.json", "samples.parquet", "store.json"]
    assert read(folder) == [0, 1, 2]
    forget(monkeypatch)
    shutil.rmtree(place / "cache")  # another machine
    assert read(folder) == [0, 1, 2]
    store = Store.open(folder)
    assert (store.masks == MASK).all()
    shutil.rmtree(place / "shared")
    forget(monkeypatch)
    assert read(folder) == [0, 1, 2]


def test_it_grows_from_what_is_at_the_url_and_is_the_store_that_would_be_here(place, monkeypatch):
    folder = build(place)
    forget(monkeypatch)
    shutil.rmtree(place / "cache")
    build(place, rows=5, before=Store.open(folder))
    assert read(folder) == [0, 1, 2, 3, 4]
    (name,) = {path.name for path in (place / "shared").iterdir()} - {cache.copies()[1].name}
    here = build(place, "once", rows=5)
    assert (here / "store.json").read_bytes() == (folder / "store.json").read_bytes()
    assert len(list((place / "shared").iterdir())) == 2 and name


def test_what_was_damaged_on_the_way_is_not_believed(place, monkeypatch):
    folder = build(place)
    forget(monkeypatch)
    shutil.rmtree(place / "cache")
    (array,) = (place / "shared").glob("*/images.npy")
    array.write_bytes(array.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="some rows have another SHA-256"):
        Store.open(folder)
    assert cache.copies() == []
    array.write_bytes(array.read_bytes()[:-1])
    with pytest.raises(DataError, match="some rows have another SHA-256"):
        Store.open(folder)
    shutil.rmtree(place / "shared")
    with pytest.raises(DataError, match=r"not at preprocess\.remote any more"):
        Store.open(folder)


def _fetches(folder, said):
    from fsspec.implementations.local import LocalFileSystem

    get = LocalFileSystem.get_file
    LocalFileSystem.get_file = lambda *words, **more: (said.put("fetched"), get(*words, **more))
    said.put(len(Store.open(folder).images))


def test_processes_that_want_it_at_once_fetch_it_once(place, monkeypatch):
    folder = build(place, rows=7)
    forget(monkeypatch)
    shutil.rmtree(place / "cache")
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    processes = [context.Process(target=_fetches, args=(folder, said)) for _ in range(2)]
    for process in processes:
        process.start()
    told = [said.get(timeout=120) for _ in range(4)]
    for process in processes:
        process.join()
    assert sorted(map(str, told)) == ["7", "7", "fetched", "fetched"]  # images and masks, once
    assert said.empty()
    assert [copy.busy for copy in cache.copies()] == [False]


def test_the_cache_keeps_to_its_bound_and_lets_go_of_what_was_used_longest_ago(place, monkeypatch):
    first, second = build(place, "first"), build(place, "second", first=10)
    one = cache.copies()[0].size
    monkeypatch.setenv("MEDIMG_CACHE_GIB", str(2.5 * one / cache.GIB))
    with pytest.raises(DataError, match="are in use"):
        raise_if_full(place)
    forget(monkeypatch)
    os.utime(next(cache.folder().glob(f"{name_of(first)}/whole")), (1, 1))
    third = build(place, "third", first=20)
    held = {copy.name for copy in cache.copies()}
    assert held == {name_of(second), name_of(third)}
    assert read(first) == [0, 1, 2]  # fetched again
    assert name_of(second) not in {copy.name for copy in cache.copies()}
    assert cache.prune(0) == []  # both are in use
    monkeypatch.setenv("MEDIMG_CACHE_GIB", "much")
    with pytest.raises(DataError, match="MEDIMG_CACHE_GIB is no positive number"):
        cache.bound()


def raise_if_full(place):
    folder = build(place, "another", first=30)  # it is stored, but this machine has no room for a copy
    Store.open(folder)


def name_of(folder):
    from medimg.files import sha256

    return sha256((folder / "store.json").read_bytes())[:32]


def test_a_fetch_that_was_killed_is_shown_and_cleared(place, monkeypatch):
    folder = build(place)
    forget(monkeypatch)
    copy = place / "cache" / "stores" / name_of(folder)
    (copy / "whole").unlink()
    copy.rename(copy.with_name(f".partial-{copy.name}"))
    (found,) = cache.copies()
    assert found.used == 0 and not found.busy
    assert read(folder) == [0, 1, 2]
    assert [copy.name for copy in cache.copies()] == [name_of(folder)]


def test_a_pruning_that_was_killed_leaves_no_half_copy_that_passes_for_whole(place, monkeypatch):
    folder = build(place)
    forget(monkeypatch)
    copy, remove = place / "cache" / "stores" / name_of(folder), shutil.rmtree

    def cut_off(path, **_):
        (path / "images.npy").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", cut_off)
    with pytest.raises(KeyboardInterrupt):
        cache.prune(0)
    monkeypatch.setattr(shutil, "rmtree", remove)
    assert copy.is_dir() and not (copy / "images.npy").exists()
    assert read(folder) == [0, 1, 2]


def test_the_command_shows_and_prunes(place, monkeypatch):
    folder = build(place)

    def command(*words):
        return subprocess.run([sys.executable, "-m", "medimg", "cache", *words], capture_output=True, text=True).stdout

    assert "1 stores, 0.000 of 50 GiB" in command() and "in use" in command("--prune")
    forget(monkeypatch)
    assert f"removed {name_of(folder)}" in command("--prune")
    assert "0 stores" in command()
    assert read(folder) == [0, 1, 2]


def test_a_url_that_cannot_be_reached_is_a_sentence_without_it(place):
    keys = {"s1": "0a"}
    for url, words in [("s3x://secret", "cannot be reached"), ("file:///proc/secret", "cannot be reached")]:
        with pytest.raises(DataError, match=words) as raised:
            with rebuild(place / "store", keys, np.dtype("uint8"), remote=url) as store:
                for key in store.missing:
                    store.put(key, Row(np.zeros((1, 4, 4), np.uint8), Geometry((4, 4))))
        assert "secret" not in str(raised.value)
    with pytest.raises(ValueError, match="remote"):
        Preprocess(remote="s3://user:password@bucket/stores")


def test_remote_json_says_where_and_how_large(place):
    folder = build(place)
    about = json.loads((folder / "remote.json").read_text())
    assert about["url"] == (place / "shared").as_uri()
    assert set(about["files"]) == {"images.npy", "masks.npy"}
    assert Path(place / "shared" / name_of(folder) / "images.npy").stat().st_size == about["files"]["images.npy"]
