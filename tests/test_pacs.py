"""DICOMweb, C-GET and C-MOVE from a real Orthanc: what fits comes, whole or not at all, and nobody's name is told."""

import http.server
import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from orthanc import PASSWORD, USER, Orthanc, Proxy, certificate, needs_orthanc, orthanc
from pictures import CANARY, ct, tree

from medimg.border import spool
from medimg.border.account import Summary
from medimg.border.dicomweb import Credentials, DicomWeb, save_parts
from medimg.border.identity import refused_path
from medimg.border.locate import Options, locate
from medimg.border.options import Policy
from medimg.border.pacs import DicomPacs, Move
from medimg.border.pipeline import import_from
from medimg.border.query import Query, fits, parse
from medimg.border.remote import Dropped, Pacs, Remote, Series
from medimg.errors import BorderError, LabelsError, Refusal

PATIENTS, SERIES, INSTANCES = 3, 2, 4
DATES = ("20200115", "20210115", "20220115")
WAYS = ("web", "get", "move")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        for patient in range(PATIENTS):
            for series in range(SERIES):
                for number in range(INSTANCES):
                    file = ct(number, patient, series, StudyDate=DATES[patient], SeriesDescription=f"s{series}")
                    running.ask("/instances", file)
        yield running


@pytest.fixture(autouse=True)
def site_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config" / "site.key"
    monkeypatch.setenv("MEDIMG_SITE_KEY", str(path))
    monkeypatch.setenv("MEDIMG_PACS_USER", USER)
    monkeypatch.setenv("MEDIMG_PACS_PASSWORD", PASSWORD)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # other imports on this machine have a spool as well
    return path


def pacs(server: Orthanc, way: str, port: int | None = None) -> Pacs:
    if way == "web":
        return DicomWeb(f"https://127.0.0.1:{port or server.tls}/dicom-web", Credentials.find(None), server.ca)
    move = Move("127.0.0.1", server.move) if way == "move" else None
    return DicomPacs(f"dicom://ORTHANC@127.0.0.1:{port or server.dicom}", "MEDIMG", move)


def dropping(server: Orthanc, way: str, most: int, cuts: int) -> Proxy:
    """A proxy in front of the server that drops connections in which more than ``most`` bytes come back."""
    web = way == "web"
    return Proxy(server.http if web else server.dicom, most, cuts, server.both if web else None)


def listed(folder: Path, *values: str) -> str:
    path = folder / f"{CANARY}.txt"
    path.write_text("\n".join(values), encoding="utf-8")
    return f"@{path}"


@needs_orthanc
@pytest.mark.parametrize("way", WAYS)
def test_what_fits_the_filters_comes_and_nobody_is_named(
    tmp_path: Path, server: Orthanc, way: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    out = tmp_path / "study" / "data"
    query = parse([f"PatientID={listed(tmp_path, f'{CANARY}0', f'{CANARY}2', f'{CANARY}9')}", "SeriesDescription=?1*"])
    (tmp_path / "labels.csv").write_text(f"patient,label\n{CANARY}0,a\n{CANARY}2,b\n")
    source = Remote(pacs(server, way), query)
    summary = import_from(source, tmp_path / "labels.csv", out)
    assert (summary.imported, summary.patients, summary.refused) == (2 * INSTANCES, 2, {})
    again = import_from(Remote(pacs(server, way), query), tmp_path / "labels.csv", out)
    assert (again.batch, again.imported, again.already) == (None, 0, 2 * INSTANCES)
    said = "".join(capfd.readouterr()) + caplog.text + str(summary) + repr(source)
    assert CANARY.lower() not in said.lower()
    for name, data in tree(tmp_path / "study").items():
        assert CANARY.lower().encode() not in name.lower().encode() + data.lower(), name
    assert not [path for path in spool.base().iterdir() if path.is_dir()]


@needs_orthanc
@pytest.mark.parametrize("way", ["web", pytest.param("get", marks=pytest.mark.slow)])
def test_a_series_that_is_here_whole_is_not_fetched_again(
    tmp_path: Path, server: Orthanc, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, query = tmp_path / "study" / "data", parse(["StudyDate=20200115"])
    fetched: list[str] = []

    def run(**how: object) -> Summary:
        archive = pacs(server, way)
        fetch = archive.fetch
        monkeypatch.setattr(
            archive, "fetch", lambda series, *rest: (fetched.append(series.series), fetch(series, *rest))
        )
        return import_from(Remote(archive, query), None, out, **how)  # type: ignore[arg-type]

    first = run()
    assert (first.imported, first.not_fetched, len(fetched)) == (SERIES * INSTANCES, 0, SERIES)
    before = tree(out)
    again = run()
    assert (again.batch, again.already, again.not_fetched, len(fetched)) == (None, SERIES * INSTANCES, SERIES, SERIES)
    assert tree(out) == before
    sorted(out.rglob("*.dcm"))[0].unlink()  # one series is not whole any more
    assert run().not_fetched == SERIES - 1 and len(fetched) == SERIES + 1
    assert tree(out) | before == tree(out)
    run(policy=Policy(retain_device=False))  # under other rules other files would cross
    assert len(fetched) == 2 * SERIES + 1
    for name, data in tree(tmp_path / "study").items():
        assert CANARY.lower().encode() not in name.lower().encode() + data.lower(), name


@needs_orthanc
@pytest.mark.slow
def test_every_way_brings_what_the_folder_brings(tmp_path: Path, server: Orthanc) -> None:
    trees = []
    (tmp_path / "folder").mkdir()
    for series in range(SERIES):
        for number in range(INSTANCES):
            file = ct(number, 1, series, StudyDate=DATES[1], SeriesDescription=f"s{series}")
            (tmp_path / "folder" / f"{series}-{number}").write_bytes(file)
    out = tmp_path / "of the folder" / "data"
    import_from(locate(str(tmp_path / "folder"), out), None, out)
    trees.append(tree(out / "images"))
    for way in WAYS:
        out = tmp_path / way / "data"
        import_from(Remote(pacs(server, way), parse(["StudyDate=20210101-20211231"])), None, out)
        trees.append(tree(out / "images"))
    assert len(trees[0]) == SERIES * INSTANCES
    assert [sorted(other) == sorted(trees[0]) for other in trees] == [True] * 4
    assert all(other == trees[0] for other in trees)


@needs_orthanc
@pytest.mark.slow
@pytest.mark.parametrize("way", ["web", "get"])
def test_a_series_that_breaks_off_is_tried_again(tmp_path: Path, server: Orthanc, way: str) -> None:
    out = tmp_path / "data"
    with dropping(server, way, most=100_000, cuts=2) as proxy:
        source = Remote(pacs(server, way, proxy.port), parse(["StudyDate=20200115"]), waits=(0, 0))
        summary = import_from(source, None, out)
    assert proxy.cut >= 2
    assert (summary.imported, summary.refused) == (SERIES * INSTANCES, {})


@needs_orthanc
@pytest.mark.slow
@pytest.mark.parametrize("way", ["web", "get"])
def test_a_series_that_always_breaks_off_is_refused_whole(tmp_path: Path, server: Orthanc, way: str) -> None:
    """The small series fits below the proxy's limit and comes; of the large one not one image does."""
    out = tmp_path / "data"
    small = ct(0, patient=8, StudyDate="20230115")
    for file in (small, *(ct(number, patient=8, series=1, StudyDate="20230115") for number in range(5))):
        server.ask("/instances", file)
    with dropping(server, way, most=100_000, cuts=10**6) as proxy:
        source = Remote(pacs(server, way, proxy.port), parse(["StudyDate=20230115"]), waits=(0,))
        summary = import_from(source, None, out)
    assert (summary.imported, summary.refused) == (1, {"incomplete": 1})
    assert "1.2.3.8.1" in refused_path().read_text()
    assert len(list(out.rglob("*.dcm"))) == 1


@needs_orthanc
@pytest.mark.parametrize("way", ["web", "get"])
def test_a_pacs_that_is_not_there_is_named_and_its_address_holds_no_filter(
    tmp_path: Path, server: Orthanc, way: str
) -> None:
    with dropping(server, way, most=0, cuts=10**6) as proxy:
        query = parse([f"PatientID={listed(tmp_path, CANARY)}"])
        source = Remote(pacs(server, way, proxy.port), query)
        with pytest.raises(BorderError, match=r"127\.0\.0\.1:\d+.* cannot be reached, or broke off") as caught:
            import_from(source, None, tmp_path / "data")
    assert CANARY not in str(caught.value)
    assert not (tmp_path / "data").exists()


@needs_orthanc
@pytest.mark.parametrize("way", ["web", "get"])
def test_nothing_that_fits_is_said(tmp_path: Path, server: Orthanc, way: str) -> None:
    source = Remote(pacs(server, way), parse(["StudyDate=19000101"]))
    with pytest.raises(BorderError, match="has nothing that fits every --filter"):
        import_from(source, None, tmp_path / "data")


@needs_orthanc
def test_who_is_not_known_or_not_trusted_is_told_so(
    tmp_path: Path, server: Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    other, _ = certificate(tmp_path / "other")
    query = parse(["StudyDate=20200115"])
    wrong = Credentials(user=USER, password=CANARY)
    for credentials, ca, needle in (
        (wrong, server.ca, "wants to know who you are"),
        (Credentials.find(None), None, "shows no certificate that we trust"),
        (Credentials.find(None), other, "shows no certificate that we trust"),
    ):
        source = Remote(DicomWeb(f"https://127.0.0.1:{server.tls}/dicom-web", credentials, ca), query)
        with pytest.raises(BorderError, match=needle) as caught:
            source.names(None)
        assert CANARY not in str(caught.value)
    file = tmp_path / "credentials"
    file.write_text(f"user: {USER}\npassword: {PASSWORD}\n", encoding="utf-8")
    file.chmod(0o600)
    monkeypatch.delenv("MEDIMG_PACS_USER")
    options = Options(["StudyDate=20200115"], file, server.ca)
    assert locate(f"https://127.0.0.1:{server.tls}/dicom-web", tmp_path / "data", options).names(None) == []


@needs_orthanc
def test_a_table_by_path_does_not_fit_a_pacs(tmp_path: Path, server: Orthanc) -> None:
    (tmp_path / "labels.csv").write_text("path,label\na,b\n")
    source = Remote(pacs(server, "web"), parse(["StudyDate=20200115"]))
    with pytest.raises(LabelsError, match="Use the column patient"):
        import_from(source, tmp_path / "labels.csv", tmp_path / "data")


def test_a_token_is_sent_and_redirections_are_not_followed(tmp_path: Path) -> None:
    heard = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.headers["Authorization"])
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.2/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        source = DicomWeb(f"http://127.0.0.1:{web.server_port}", Credentials(token="abc"))
        with pytest.raises(BorderError, match="sends us to another address"):
            list(source.find(parse(["StudyDate=20200115"])))
        web.shutdown()
    assert heard == ["Bearer abc"]


def test_what_one_series_is_refused_for_does_not_end_the_import(tmp_path: Path) -> None:
    """Of four studies the second's series and the third's images are withheld for good, the last's until a retry.

    Two others, and a series of the first, are listed with something that is no UID.
    """
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            asked.append(path)
            first = "offset=0" in self.path
            number = path.removeprefix("/studies/1.2.").partition("/")[0]
            if (number, path.count("/")) in (("1", 3), ("2", 5)) or (number == "3" and asked.count(path) == 1):
                self.answer(503 if number == "3" else 403, "application/json", b"")
            elif "json" in self.headers["Accept"]:
                uids = {1: [*(f"1.2.{n}" for n in range(4)), CANARY, ""], 3: [f"1.2.3.{number}"]}
                uids[3] += [CANARY] * (number == "0")
                uids[5] = [f"1.2.3.{number}.0.0"]
                tag = {1: "0020000D", 3: "0020000E", 5: "00080018"}[path.count("/")]
                found = [{tag: {"vr": "UI", "Value": [uid]}} for uid in uids[path.count("/")]] if first else []
                dated = [one | {"00080020": {"vr": "DA", "Value": ["20200115"]}} for one in found]
                self.answer(200, "application/json", json.dumps(dated).encode())
            else:
                part = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + ct(0, int(number)) + b"\r\n--b--"
                self.answer(200, "multipart/related; boundary=b", part)

        def answer(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        service = DicomWeb(f"http://127.0.0.1:{web.server_port}", Credentials())
        source = Remote(service, parse(["StudyDate=20200115"]), waits=(0, 0))
        summary = import_from(source, None, tmp_path / "study" / "data")
        web.shutdown()
    assert (summary.imported, summary.refused) == (2, {"withheld": 5})
    rows = refused_path().read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == [
        "series 1.2.3.2 of study 1.2.2",
        "series number 1 without a UID of study 1.2.0",
        "study 1.2.1",
        "study number 1 without a UID",
        "study number 2 without a UID",
    ]
    assert ["answered 403" in row for row in rows] == [True, False, True, False, False]
    assert CANARY not in "".join(rows)
    assert asked.count("/studies/1.2.2/series/1.2.3.2/instances") == 1  # to ask again changes nothing


def test_a_pacs_may_be_silent_for_as_long_as_is_said() -> None:
    from pynetdicom import AE, evt
    from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find  # type: ignore[attr-defined]

    def slow(event: evt.Event) -> Iterator[tuple[int, None]]:
        time.sleep(2)
        yield 0x0000, None

    server = AE(ae_title="SLOW")
    server.add_supported_context(Find)
    running: Any = server.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, slow)])
    address = f"dicom://SLOW@127.0.0.1:{running.server_address[1]}"
    try:
        assert list(DicomPacs(address, "MEDIMG", timeout=60).find(parse(["StudyDate=20200115"]))) == []
        with pytest.raises(Dropped):
            list(DicomPacs(address, "MEDIMG", timeout=1).find(parse(["StudyDate=20200115"])))
    finally:
        running.shutdown()


class Damaged:
    """A PACS of eight series, which breaks off once while it lists them, and gives but the last."""

    where = "dicom://A@b:104"

    def __init__(self, lists: bool = True) -> None:
        self.lists, self.found, self.asked = lists, 0, 0

    def find(self, _: Query) -> Iterator[Series]:
        self.found += 1
        for number in range(8):
            if self.found == 1 and number == 2:
                raise Dropped
            yield Series("1.2", f"1.2.{number}")

    def instances(self, series: Series) -> frozenset[str]:
        self.asked += 1
        if not self.lists:
            raise Dropped
        return frozenset([f"1.2.3.{series.series[-1]}.0"])

    def fetch(self, series: Series, wanted: frozenset[str], folder: Path) -> None:
        if series.series != "1.2.7":
            raise Dropped
        (folder / "0").write_bytes(ct(0, SOPInstanceUID=next(iter(wanted))))


def test_a_damaged_study_does_not_stand_before_all_that_follow_it(tmp_path: Path) -> None:
    source = Remote(pacs := Damaged(), parse(["StudyDate=20200115"]), waits=(0,))
    source.names(None)
    assert pacs.found == 2
    assert [item.refusal for item in source.items(tmp_path)] == [Refusal.INCOMPLETE] * 7 + [None]


def test_a_pacs_that_lists_nothing_any_more_is_left_alone(tmp_path: Path) -> None:
    source = Remote(pacs := Damaged(lists=False), parse(["StudyDate=20200115"]), waits=(0,))
    source.names(None)
    assert [item.refusal for item in source.items(tmp_path)] == [Refusal.INCOMPLETE] * 8
    assert pacs.asked == 5 * 2


def test_a_server_that_does_not_turn_the_page_is_not_taken_for_complete() -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            few = "StudyDate=20200115" in self.path
            studies = [{"0020000D": {"vr": "UI", "Value": [f"1.2.{n}"]}} for n in range(3 if few else 200)]
            dated = [
                study | {"00080020": {"vr": "DA", "Value": ["20200115" if few else "20200116"]}} for study in studies
            ]
            self.wfile.write(json.dumps(dated if self.path.startswith("/studies?") else []).encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        source = DicomWeb(f"http://127.0.0.1:{web.server_port}", Credentials())
        assert list(source.find(parse(["StudyDate=20200115"]))) == []
        with pytest.raises(BorderError, match="first 200 answers only"):
            list(source.find(parse(["StudyDate=20200116"])))
        web.shutdown()


@pytest.mark.parametrize(
    ("filters", "needle"),
    [
        ([], "Without a --filter"),
        (["PatientID=Zebrafink"], "can identify somebody"),
        (["AccessionNumber=Zebrafink"], "can identify somebody"),
        (["Zebrafink=1"], "KEY is one of|KEY one of"),
        (["StudyDate=Zebrafink"], "takes YYYYMMDD"),
        (["SeriesDescription=*"], "matches everything"),
        (["Modality=CT", "Modality=MR"], "given twice"),
        (["PatientID=@/nowhere/Zebrafink"], "cannot be read as a list"),
    ],
)
def test_a_filter_that_cannot_be_asked_is_named_without_its_value(filters: list[str], needle: str) -> None:
    with pytest.raises(BorderError, match=needle) as caught:
        parse(filters)
    assert CANARY not in str(caught.value)


def test_a_list_with_a_wildcard_or_a_second_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BorderError, match="1 lines of the file hold a wildcard"):
        parse([f"PatientID={listed(tmp_path, CANARY, '*')}"])
    with pytest.raises(BorderError, match="holds no value"):
        parse([f"PatientID={listed(tmp_path, '', ' ')}"])
    with pytest.raises(BorderError, match="Only one --filter"):
        parse([f"{key}={listed(tmp_path, CANARY)}" for key in ("PatientID", "AccessionNumber")])


@pytest.mark.parametrize(
    ("address", "needle"),
    [
        (f"https://me:{CANARY}@pacs/dicom-web", "must hold no user"),
        (f"https://pacs/dicom-web?PatientID={CANARY}", "must hold no user"),
        ("http://pacs.hospital.org/dicom-web", "in the clear"),
        (f"dicom://{CANARY} @x", "is named dicom://TITLE@HOST:PORT"),
    ],
)
def test_an_address_that_tells_too_much_is_refused(tmp_path: Path, address: str, needle: str) -> None:
    with pytest.raises(BorderError, match=needle) as caught:
        locate(address, tmp_path / "data", Options(["StudyDate=20200115"]))
    assert CANARY not in str(caught.value)


def test_credentials_that_others_can_read_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text(f"token: {CANARY}\n")
    file.chmod(0o640)
    with pytest.raises(BorderError, match="chmod 600"):
        Credentials.find(file)
    file.chmod(0o600)
    assert Credentials.find(file) == Credentials(token=CANARY)
    assert CANARY not in repr(Credentials.find(file))
    file.write_text(CANARY)
    with pytest.raises(BorderError, match="must hold a line") as caught:
        Credentials.find(file)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "filters", "expected"),
    [
        ({"StudyDate": ["20200115"]}, {"StudyDate": "20200101-20201231"}, True),
        ({"StudyDate": ["20210115"]}, {"StudyDate": "20200101-20201231"}, False),
        ({"StudyDate": ["20210115"]}, {"StudyDate": "20200101-"}, True),
        ({"StudyDate": ["20210115"]}, {"StudyDate": "-20200101"}, False),
        ({"StudyDate": []}, {"StudyDate": "20200101"}, False),
        ({"ModalitiesInStudy": ["CT", "SR"]}, {"ModalitiesInStudy": "SR"}, True),
        ({"ModalitiesInStudy": ["CT"]}, {"ModalitiesInStudy": "SR"}, False),
        ({"SeriesDescription": ["Thorax [1]"]}, {"SeriesDescription": "thorax [?]"}, True),
        ({"PatientID": ["abc"]}, {"PatientID": "ABC"}, False),
        ({"PatientID": ["ABC "]}, {"PatientID": "ABC"}, True),
    ],
)
def test_answers_are_held_against_the_filters(
    said: dict[str, list[str]], filters: dict[str, str], expected: bool
) -> None:
    assert fits(said, filters, "it") is expected
    with pytest.raises(BorderError, match="it does not say"):
        fits({}, filters, "it")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10**6])
def test_parts_of_a_stream_are_told_apart_however_it_is_cut(tmp_path: Path, size: int) -> None:
    bodies = [b"", b"one", b"\r\n--bounda", b"\r\n" * 9, bytes(range(256)) * 9]
    stream = b"preamble"
    for body in bodies:
        stream += b"\r\n--boundary\r\nContent-Type: application/dicom\r\n\r\n" + body
    stream += b"\r\n--boundary--\r\n"

    def pieces(data: bytes) -> Iterator[bytes]:
        return (data[at : at + size] for at in range(0, len(data), size))

    save_parts(pieces(stream), b"boundary", tmp_path)
    assert [(tmp_path / str(number)).read_bytes() for number in range(len(bodies))] == bodies
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    (tmp_path / "cut").mkdir()
    with pytest.raises(Dropped):
        save_parts(pieces(stream[:-8]), b"boundary", tmp_path / "cut")


def test_the_spool_is_private_outside_the_study_and_swept_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    with spool.spool(tmp_path / "study" / "data") as folder:
        spool.write(folder / "a", iter([b"x"]))
        assert [path.stat().st_mode & 0o777 for path in (spool.base(), folder, folder / "a")] == [0o700, 0o700, 0o600]
        with spool.spool(tmp_path / "study" / "data"):
            assert (folder / "a").exists()  # its process lives
    assert not folder.exists()
    left = spool.base() / "left by a crash"
    left.mkdir()
    (left / CANARY).touch()
    with spool.spool(tmp_path / "study" / "data"):
        assert not left.exists()
    (tmp_path / "params.yaml").touch()
    for out in (tmp_path / "data", tmp_path / "tmp"):
        with pytest.raises(BorderError, match="must not wait inside the study"):
            with spool.spool(out):
                pass
    spool.base().chmod(0o755)
    with pytest.raises(BorderError, match="can be entered by others"):
        with spool.spool(tmp_path / "study" / "data"):
            pass
