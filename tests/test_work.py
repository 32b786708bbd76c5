import ctypes
import io
import os
import platform
import resource
import signal
import subprocess
import sys
import time

import pytest

from medimg.errors import ImageError, Refusal
from medimg.work import Failure, Limits, Progress, over


def _square(value):
    return value * value, os.getpid()


def _linger(value):
    """Item 1 is still being worked on when its worker is killed."""
    time.sleep(0.5 * (value == 1))
    return _square(value)


def _misbehave(how):
    if how == "refuse":
        raise ImageError(Refusal.CORRUPT, "does not decode")
    if how == "crash":
        ctypes.string_at(0)
    if how == "hang":
        while True:
            time.sleep(0)
    if how == "hang in a native loop":
        ctypes.CDLL(None).pause()
    if how == "memory":
        return len(bytearray(2**33))
    if how == "raise":
        raise KeyError("Doe^John")
    if how == "panic":
        raise BaseException("Doe^John")
    return how


def _print(text):
    print(text)
    print(text, file=sys.stderr)
    return os.write(2, text[:3].encode())


def test_every_item_is_answered_once_by_several_processes():
    results = dict(over(_square, range(200), processes=2))
    assert {item: value for item, (value, _) in results.items()} == {item: item * item for item in range(200)}
    pids = {pid for _, pid in results.values()}
    assert len(pids) == 2
    assert os.getpid() not in pids


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("refuse", Refusal.CORRUPT),
        ("crash", Refusal.CRASHED),
        ("hang", Refusal.TIMEOUT),
        ("hang in a native loop", Refusal.TIMEOUT),
        ("memory", Refusal.MEMORY),
        ("raise", Refusal.CRASHED),
        ("panic", Refusal.CRASHED),
    ],
)
def test_a_bad_item_is_a_failure_and_the_rest_goes_on(how, code):
    items = ["a", how, "b", "c", "d"]
    results = dict(over(_misbehave, items, processes=2, limits=Limits(seconds=1, memory=1)))
    failure = results.pop(how)
    assert isinstance(failure, Failure)
    assert failure.code is code
    assert "Doe" not in failure.detail
    assert results == {name: name for name in "abcd"}


def test_items_are_taken_only_as_they_are_needed():
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    results = over(_square, items(), processes=1)
    next(results)
    assert len(taken) <= 3
    results.close()


def test_no_items_no_processes():
    assert list(over(_square, [])) == []


def test_a_worker_that_is_killed_costs_the_item_that_it_had_and_no_other():
    results = over(_linger, range(20), processes=1)
    _, (_, pid) = next(results)
    os.kill(pid, signal.SIGKILL)
    rest = dict(results)
    failed = [item for item, value in rest.items() if isinstance(value, Failure)]
    assert failed == [1]
    assert len(rest) == 19


def test_what_a_decoder_prints_reaches_no_log(capfd):
    assert list(over(_print, ["Doe^John"])) == [("Doe^John", 3)]
    assert capfd.readouterr() == ("", "")


def test_progress_tells_rate_and_time_left_and_writes_lines_in_a_log():
    stream = io.StringIO()
    progress = Progress("files read", 7200, stream)
    for _ in range(1800):
        progress.step()
    assert stream.getvalue() == ""  # it has not taken long
    assert progress.line(900).strip() == "1800 of 7200 files read, 2/s, 45:00 left"
    progress._due = 0.0
    progress.step()
    assert stream.getvalue().startswith("1801 of 7200 files read, ")
    assert stream.getvalue().endswith("\n")


def test_progress_of_an_unknown_number_tells_the_rate():
    stream = io.StringIO()
    progress = Progress("files de-identified", None, stream)
    for _ in range(30):
        progress.step()
    assert progress.line(10).strip() == "30 files de-identified, 3/s"


def _threads(_):
    return os.environ.get("OPENBLAS_NUM_THREADS")


def _faults(size):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        held = [b"x" * size for _ in range(5)]
        del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory as it likes")
def test_a_worker_takes_memory_for_an_image_once_and_not_for_every_file_anew():
    *_, (_, last) = over(_faults, [2**21] * 3, processes=1)
    assert last < 8 * 2**21 / 2**12 / 10  # a tenth of one page fault for each page of one of them


def test_numerical_libraries_in_a_worker_have_one_thread_and_here_as_many_as_before():
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    assert list(over(_threads, ["a"])) == [("a", "1")]
    assert os.environ.get("OPENBLAS_NUM_THREADS") == before


def _slow_to_import(_):
    return __import__("slow_to_import").__name__


def test_what_a_function_imports_is_not_at_the_cost_of_its_first_item(tmp_path, monkeypatch):
    list(over(_threads, ["a"]))  # from here on the server that forks is there, and preloads nothing more
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    limits = Limits(seconds=2)
    (_, without), *_ = over(_slow_to_import, ["a"], limits=limits)
    assert without.code == Refusal.TIMEOUT
    assert list(over(_slow_to_import, ["a"], limits=limits, preload=("slow_to_import",))) == [("a", "slow_to_import")]


def test_the_limit_of_memory_holds_under_one_that_a_cluster_has_set():
    script = """
import resource
from medimg.work.supervised import Limits, _limit_memory
resource.setrlimit(resource.RLIMIT_AS, (2**36, 2**36))
_limit_memory(Limits(memory=1))
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
assert soft < 2**32 and hard == 2**36, (soft, hard)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_long_name_of_the_temporary_folder_is_no_hindrance(tmp_path):
    """The address of a socket has room for about a hundred characters."""
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    code = "from medimg.work.supervised import over; from operator import neg; print(list(over(neg, [1], processes=1)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "[(1, -1)]", done.stderr
