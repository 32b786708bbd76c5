"""Malformed inputs: none ends the run or hangs it, each is accounted for, and no two decoders differ unseen.

``make campaigns`` runs more than 10,000; elsewhere a seeded sample. ``MEDIMG_SEED`` chooses others.
"""

import io
import itertools
import json
import os
import random
from collections import Counter
from pathlib import Path

import malformed
import pydicom
import pytest

from medimg.errors import Refusal
from medimg.ingest import ingest
from medimg.params import Ingest
from medimg.records import INGEST
from medimg.work import Failure, Limits, over

WHOLE = os.environ.get("MEDIMG_CAMPAIGN") == "all"
SEED = os.environ.get("MEDIMG_SEED", "0")
MUTATIONS, TRUNCATIONS, RELABELLED = (7000, 1000, 1) if WHOLE else (250, 50, 20)  # the last: one in so many
ROUND = 500
SETTINGS = Ingest(allow_unverified=True, max_quarantined=1, max_unlabelled=1, seconds=30, memory=2)


def write(inputs):
    """A study of these inputs in the current folder; returns their paths."""
    images = Path("data/images")
    images.mkdir(parents=True)
    Path("data/labels.csv").write_text("path,label\n")
    for number, data in enumerate(inputs):
        (images / f"{number:05d}").write_bytes(data)
    return [f"images/{number:05d}" for number in range(len(inputs))]


@pytest.mark.slow
@pytest.mark.campaign
def test_every_malformed_input_is_accounted_for_and_decoders_agree(tmp_path, monkeypatch):
    draw = random.Random(f"fuzz {SEED}")
    files = malformed.sources(corpus=True)
    inputs = itertools.chain(
        malformed.mutations(files, MUTATIONS, draw),
        malformed.truncations(files, TRUNCATIONS, draw),
        itertools.islice(malformed.relabelled(files), 0, None, RELABELLED),
    )
    codes, verdicts, count = Counter(), Counter(), 0
    disagree = []
    while batch := list(itertools.islice(inputs, ROUND)):
        folder = tmp_path / str(count)
        folder.mkdir()
        monkeypatch.chdir(folder)
        paths = write(batch)
        ingest("label", SETTINGS)
        summary = json.loads(INGEST.read_text())
        assert summary["seen"] == len(batch)
        assert summary["seen"] == summary["indexed_files"] + summary["not_an_image"] + summary["quarantined"]
        codes.update(summary["by_code"])
        codes.update({name: summary[name] for name in ("indexed_files", "not_an_image")})
        for path, verdict in over(malformed.compare, paths, limits=Limits(30, 2)):
            said = f"DISAGREE: {verdict}" if isinstance(verdict, Failure) else verdict
            verdicts[said] += 1
            if said.startswith("DISAGREE"):
                disagree.append((folder / "data" / path, said))
        count += len(batch)
    print(f"\nseed {SEED}: {count} inputs from {len(files)} files")
    for name, found in (("ingest", codes), ("two decoders", verdicts)):
        print(f"{name}:", *(f"{number} {what}" for what, number in sorted(found.items())), sep="\n  ")
    assert count >= (10_000 if WHOLE else 300)
    assert set(codes) <= {code.value for code in Refusal} | {"indexed_files", "not_an_image"}
    assert not disagree
    assert not codes[Refusal.TIMEOUT]
    assert not codes[Refusal.CRASHED]


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("name", malformed.BOMBS)
def test_a_bomb_is_refused_within_512_mib(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    paths = write([malformed.BOMBS[name]()])
    ((_, found),) = over(malformed.weigh, paths, limits=Limits(60, 1), processes=1)
    assert not isinstance(found, Failure), found
    seconds, more, said = found
    print(f"\n{name}: {said}; {seconds:.2f} s of CPU, {more:.0f} MiB")
    assert not said.startswith("image")
    assert more < 512


def test_a_jpeg_that_is_called_jpeg_2000_is_refused():
    dataset = pydicom.dcmread(malformed.FOLDERS[0] / "SC_rgb_jpeg_dcmtk.dcm")
    for syntax in ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"):
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        assert malformed.said_of(buffer.getvalue()) == Refusal.CORRUPT


def test_a_box_of_no_length_around_jpeg_2000_does_not_hang():
    dataset = pydicom.dcmread(malformed.FOLDERS[0] / "MR_small_jp2klossless.dcm")
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    box = b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(8)
    dataset.PixelData = pydicom.encaps.encapsulate([box + frame[:200] + b"\xff\xd9"])
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    ((_, found),) = over(malformed.said_of, [buffer.getvalue()], limits=Limits(30, 2))
    assert found == Refusal.CORRUPT
