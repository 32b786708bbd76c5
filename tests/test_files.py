import multiprocessing
import os

import pytest

from medimg.errors import BusyError
from medimg.files import lock, prune_partial, publish, publish_folder, sha256, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), publish(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_publishing_replaces_and_does_not_write_into_a_hard_linked_file(tmp_path):
    path, cache = tmp_path / "a.txt", tmp_path / "cache"
    path.write_text("old")
    os.link(path, cache)
    with publish(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new"
    assert cache.read_text() == "old"


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "store"
    with publish_folder(folder) as partial:
        (partial / "one").write_text("1")
    with pytest.raises(ZeroDivisionError), publish_folder(folder) as partial:
        (partial / "two").write_text("2")
        raise ZeroDivisionError
    assert os.listdir(folder) == ["one"]
    with publish_folder(folder) as partial:
        (partial / "two").write_text("2")
    assert os.listdir(folder) == ["two"]
    assert os.listdir(tmp_path) == ["store"]


def test_what_a_killed_process_left_is_cleared_by_the_next_to_write_the_same_path(tmp_path):
    (tmp_path / ".partial-store").mkdir()
    (tmp_path / ".partial-store" / "half").write_text("half")
    (tmp_path / ".partial-a.txt").write_text("half")
    (tmp_path / ".partial-other").write_text("another process is writing this")
    with publish_folder(tmp_path / "store") as partial:
        (partial / "whole").write_text("whole")
    with publish(tmp_path / "a.txt") as partial:
        partial.write_text("whole")
    assert os.listdir(tmp_path / "store") == ["whole"]
    assert sorted(os.listdir(tmp_path)) == [".partial-other", "a.txt", "store"]


def test_pruning_removes_leftovers_and_nothing_else(tmp_path):
    (tmp_path / ".partial-store").mkdir()
    (tmp_path / ".partial-a.txt").write_text("half")
    (tmp_path / "a.txt").write_text("whole")
    prune_partial(tmp_path)
    assert os.listdir(tmp_path) == ["a.txt"]


def _hold(path, started, end):
    with lock(path, "Stage other"):
        started.set()
        end.wait(300)


def test_a_lock_is_refused_by_name_while_held_and_free_after_the_holder_is_killed(tmp_path):
    context = multiprocessing.get_context("spawn")
    started, end = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "a.lock", started, end))
    holder.start()
    assert started.wait(300)
    with pytest.raises(BusyError, match=rf"Stage mine is already running here \(process {holder.pid}\)"):
        with lock(tmp_path / "a.lock", "Stage mine"):
            pass
    holder.kill()
    holder.join()
    with lock(tmp_path / "a.lock", "Stage mine"):
        pass


def test_json_is_independent_of_the_order_of_keys_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a", {"b": 1, "a": 2})
    write_json(tmp_path / "b", {"a": 2, "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with pytest.raises(ValueError):
        write_json(tmp_path / "c", {"a": float("nan")})
    assert not (tmp_path / "c").exists()


def test_hash_of_a_known_answer():
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
