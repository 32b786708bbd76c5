"""The border against other anonymisers of DICOM, on the same files in memory: processor time, so one core each.

The peers are not in requirements.lock. To measure against them: pip install dicognito==0.19.0 dicom-anonymizer==2.1.0
"""

import contextlib
import importlib.util
import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pydicom
from pydicom.data.data_manager import DATA_ROOT

from benchmarks.paired import ROOT, Row, processor_seconds, ratio
from medimg.border import profile
from medimg.border.deidentify import Rules, deidentify
from medimg.border.identity import SiteKey
from medimg.errors import ImageError
from medimg.images import quiet

PEERS = {"dicognito": "dicognito", "dicom-anonymizer": "dicomanonymizer"}
_KEY = SiteKey(bytes(32))
_MOST = 40  # files of a kind
_SHARED = ROOT.parent / "shared" / "data"


def measure() -> list[Row]:
    """How many times as fast as each peer that is installed: the profile alone, and a whole file's way across."""
    rows = []
    for kind, files in _files():
        for name, module in PEERS.items():
            if importlib.util.find_spec(module) is None:
                print(f"{name} is not installed: left out")
                continue
            peer = partial(_all, _PEERS[name], files)
            for what, ours, goal in (
                ("header and pixels rewritten", _profile, "≥ 2"),
                ("the whole way across, pixels decoded and compared", _across, "≥ 2"),
            ):
                with quiet(), contextlib.redirect_stdout(io.StringIO()):
                    figures = ratio(peer, partial(_all, ours, files), clock=processor_seconds)
                rows.append(Row(f"{len(files)} {kind}, {what}, against {name}", *figures, goal))
    return rows


def _files() -> Iterator[tuple[str, list[bytes]]]:
    """Files that all can read and that ours does not refuse, by kind."""
    shipped = sorted((Path(DATA_ROOT) / "test_files").glob("*_small*.dcm"))
    kinds = {"small CT and MR files": shipped}
    for kind, folder in (("MR slices", "mr_series"), ("GE and Siemens EPI slices", "dcm_qa_nih/In")):
        found = sorted(path for path in (_SHARED / folder).rglob("*") if path.is_file())
        kinds[kind] = found[:: max(1, len(found) // _MOST)]
    for kind, paths in kinds.items():
        usable = [data for data in (path.read_bytes() for path in paths) if _usable(data)]
        if usable:
            yield kind, usable[:_MOST]


def _usable(data: bytes) -> bool:
    try:
        with quiet():
            for tool in (_profile, *_PEERS.values()):
                tool(data)
    except ModuleNotFoundError:
        return True
    except Exception:
        return False
    return True


def _all(tool: Callable[[bytes], bytes], files: list[bytes]) -> None:
    for data in files:
        tool(data)


def _profile(data: bytes) -> bytes:
    return profile.clean(data, _KEY, "P000000000000").data


def _across(data: bytes) -> bytes:
    with contextlib.suppress(ImageError):
        return deidentify(data, "x", Rules(_KEY, each_image_is_a_patient=True)).data
    return b""


def _dicognito(data: bytes) -> bytes:
    from dicognito.anonymizer import Anonymizer

    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    Anonymizer(seed="benchmark").anonymize(dataset)
    return _written(dataset)


def _dicom_anonymizer(data: bytes) -> bytes:
    from dicomanonymizer import anonymize_dataset

    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    anonymize_dataset(dataset)
    return _written(dataset)


def _written(dataset: pydicom.Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


_PEERS = {"dicognito": _dicognito, "dicom-anonymizer": _dicom_anonymizer}
