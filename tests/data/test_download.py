"""Downloads from a server on this machine that has COCO's layout and every bad habit."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from project.data.coco_download import CocoServer
from project.data.coco_file import CocoImage
from project.data.download import Download, Policy, download_all
from project.errors import UserError

import numpy as np
import pytest


@dataclass(frozen=True)
class QuickPolicy(Policy):
    rate: float = 1000
    timeout: float = 0.4
    attempts: int = 4
    wait: float = 0.01
    longest_wait: float = 0.05


QUICK = QuickPolicy()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        folder = self.server.folder
        start = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-")
        folder.requests[self.path].append((int(start), time.monotonic()))
        faults = folder.faults[self.path]
        fault = faults.pop(0) if faults else None
        data = folder.files.get(self.path)
        if isinstance(fault, int) or data is None:
            headers = {"Content-Length": "0", "Retry-After": "0"}
            self._head(fault if data is not None else 404, headers)
            return
        self._send(data, int(start), fault)

    def _send(self, data, start, fault):
        etag = f'"{hash(data)}"'
        if self.headers.get("If-Range", etag) != etag or fault == "no ranges":
            start = 0
        headers = {"ETag": etag}
        if start >= len(data) > 0:
            self._head(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(data)}"})
            return
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        body = data[start:]
        if fault == "page":
            body = b"<html>please log in</html>"
        if fault == "truncated file":
            body = body[:-20]
        headers["Content-Length"] = str(len(body))
        self._head(206 if start else 200, headers)
        if fault == "slow":
            time.sleep(0.6)
        if fault == "cut":
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)

    def _head(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


class Folder:
    """What the server holds, what it will do wrong next, and what it was asked."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list] = defaultdict(list)
        self.requests: dict[str, list] = defaultdict(list)

    def starts(self, path):
        return [start for start, _ in self.requests[path]]


@pytest.fixture
def served():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # clients that hang up are no news
    server.folder = Folder()
    server.folder.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server.folder
    server.shutdown()
    server.server_close()


def fetch(served, tmp_path, path="/a.bin", policy=QUICK, check=None):
    target = tmp_path / "to" / path[1:]
    download_all([Download(served.url + path, target, check)], policy, progress=False)
    return target


PAYLOAD = bytes(np.random.default_rng(0).integers(0, 256, 300_000, np.uint8))


def test_a_file_arrives_once(served, tmp_path):
    served.files["/a.bin"] = PAYLOAD
    target = fetch(served, tmp_path)
    fetch(served, tmp_path)
    assert target.read_bytes() == PAYLOAD
    assert served.starts("/a.bin") == [0]
    assert [p.name for p in target.parent.iterdir()] == ["a.bin"]


def test_cut_connections_are_continued(served, tmp_path):
    served.files["/a.bin"] = PAYLOAD
    served.faults["/a.bin"] = ["cut", "cut"]
    assert fetch(served, tmp_path).read_bytes() == PAYLOAD
    assert served.starts("/a.bin") == [0, 150_000, 225_000]


@pytest.mark.parametrize("fault", [500, 503, 429, "slow", "page"])
def test_passing_faults_are_tried_again(served, tmp_path, fault):
    def check(path):
        if path.read_bytes() != PAYLOAD:
            raise ValueError("something else")

    served.files["/a.bin"] = PAYLOAD
    served.faults["/a.bin"] = [fault, fault]
    assert fetch(served, tmp_path, check=check).read_bytes() == PAYLOAD
    assert served.starts("/a.bin") == [0, 0, 0]


def test_a_part_file_is_continued_by_the_next_run(served, tmp_path):
    served.files["/a.bin"] = PAYLOAD
    served.faults["/a.bin"] = ["cut"]
    once = Policy(rate=1000, attempts=1)
    with pytest.raises(UserError, match=r"1 of 1 files .*a.bin \(150000 bytes of 300000 came"):
        fetch(served, tmp_path, policy=once)
    assert (tmp_path / "to/a.bin.part").stat().st_size == 150_000
    assert fetch(served, tmp_path).read_bytes() == PAYLOAD
    assert served.starts("/a.bin") == [0, 150_000]


def test_a_changed_file_is_not_glued_to_its_old_beginning(served, tmp_path):
    served.files["/a.bin"] = PAYLOAD
    served.faults["/a.bin"] = ["cut"]
    with pytest.raises(UserError):
        fetch(served, tmp_path, policy=Policy(rate=1000, attempts=1))
    served.files["/a.bin"] = PAYLOAD[::-1]
    assert fetch(served, tmp_path).read_bytes() == PAYLOAD[::-1]


def test_a_server_without_ranges_sends_all_of_it_again(served, tmp_path):
    served.files["/a.bin"] = PAYLOAD
    served.faults["/a.bin"] = ["cut", "no ranges"]
    assert fetch(served, tmp_path).read_bytes() == PAYLOAD


def test_a_part_file_longer_than_the_file_is_thrown_away(served, tmp_path):
    served.files["/a.bin"] = PAYLOAD
    (tmp_path / "to").mkdir()
    (tmp_path / "to/a.bin.part").write_bytes(PAYLOAD + b"more")
    assert fetch(served, tmp_path).read_bytes() == PAYLOAD


def test_404_is_final_and_the_other_files_still_come(served, tmp_path):
    served.files["/a.bin"] = PAYLOAD
    items = [
        Download(served.url + path, tmp_path / path[1:]) for path in ("/no.bin", "/a.bin", "/b.bin")
    ]
    with pytest.raises(UserError, match=r"2 of 3 files .*no.bin \(HTTP 404 Not Found\).*run it ag"):
        download_all(items, QUICK, progress=False)
    assert (tmp_path / "a.bin").read_bytes() == PAYLOAD
    assert len(served.requests["/no.bin"]) == 1


def test_a_url_that_cannot_be_sent_is_final(served, tmp_path):
    with pytest.raises(UserError, match="1 of 1 files could not be fetched: .*'ascii' codec"):
        fetch(served, tmp_path, path="/\u00e4.bin")
    assert not served.requests


def test_a_broken_server_is_left_in_peace(served, tmp_path):
    paths = [f"/{i}.bin" for i in range(60)]
    items = [Download(served.url + path, tmp_path / path[1:]) for path in paths]
    with pytest.raises(UserError, match=r"1\d of 60 files could not be fetched"):
        download_all(items, Policy(connections=2, rate=1000), progress=False)
    assert sum(map(len, served.requests.values())) < 30


def test_no_faster_than_asked_for(served, tmp_path):
    paths = [f"/{i}.bin" for i in range(9)]
    served.files |= dict.fromkeys(paths, b"x")
    items = [Download(served.url + path, tmp_path / path[1:]) for path in paths]
    download_all(items, Policy(rate=40, connections=4), progress=False)
    times = sorted(at for requests in served.requests.values() for _, at in requests)
    assert times[-1] - times[0] >= 8 / 40 - 0.02


def test_waits_double_and_vary():
    policy = Policy(wait=1.0, longest_wait=10.0)
    waits = np.array([[policy.delay(failures) for _ in range(50)] for failures in (1, 2, 3, 9)])
    assert (waits <= [[1], [2], [4], [10]]).all()
    assert (waits >= [[0.5], [1], [2], [5]]).all()
    assert (waits.std(1) > 0).all()


def test_offline_is_one_line(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(
            UserError, match=r"can't reach 127.0.0.1:\d+ \(.*are you offline"
        ) as told:
            download_all([Download(url + "/a", tmp_path / "a")], QUICK, progress=False)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Policy(connections=0), "0 connections at a time: expected 1 to 64"),
        (lambda: Policy(rate=0), "0 requests a second"),
        (lambda: CocoServer(Path("x"), "ftp://host"), "base URL 'ftp://host': expected e.g. http"),
        (lambda: CocoServer(Path("x"), "http://[x"), r"base URL 'http://\[x': expected e.g. http"),
        (lambda: CocoServer(Path("x"), "http://x:y"), "base URL 'http://x:y': expected e.g. http"),
        (lambda: CocoServer(Path("x")).images_dir("val2071"), "did you mean 'val2017'"),
    ],
)
def test_settings_that_make_no_sense(make, message):
    with pytest.raises(UserError, match=message):
        make()


# COCO's layout


def jpeg(number, size=(30, 20), name="JPEG"):
    from PIL import Image

    pixels = np.random.default_rng(number).integers(0, 255, (*size[::-1], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, name)
    return file.getvalue()


@pytest.fixture
def coco(served):
    """The server with 12 images of val2017, the annotation archive, and no ``coco_url``."""
    document = {"categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]}
    document["images"], document["annotations"] = [], []
    for i in range(12):
        name = f"{i:012}.jpg"
        served.files[f"/val2017/{name}"] = jpeg(i)
        image = {"id": i, "file_name": name, "height": 20, "width": 30, "coco_url": None}
        document["images"].append(image)
        box = {"bbox": [2, 2, 6, 7], "segmentation": [[2, 2, 8, 2, 8, 9]], "area": 21}
        box |= {"id": i + 1, "image_id": i, "category_id": 18 if i < 3 else 1, "iscrowd": 0}
        document["annotations"].append(box)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("annotations/instances_val2017.json", json.dumps(document))
        file.writestr("annotations/captions_val2017.json", "{}")
    served.files["/annotations/annotations_trainval2017.zip"] = archive.getvalue()
    return served


@pytest.fixture
def tool(load_tool, coco, tmp_path, capsys, monkeypatch):
    """``tool("--person", "--train", 3)`` → exit code, stdout, stderr; fetches from ``coco``."""
    module = load_tool("datasets/prepare_coco_subset.py")
    monkeypatch.setattr("project.data.command_line.Policy", QuickPolicy)

    def run(*args, download=("--download",)):
        words = [*download, "--base-url", coco.url] if download else []
        code = module.main([*map(str, args), *words, "--root", str(tmp_path / "root")])
        return code, *capsys.readouterr()

    return run


def test_only_the_chosen_images_are_fetched(tool, coco, tmp_path):
    coco.faults["/annotations/annotations_trainval2017.zip"] = ["cut", 500]
    code, out, err = tool("--person", "--train", 4, "--val", 2)
    assert (code, err) == (0, "")
    assert "train: 4 images" in out
    cached = sorted(p.name for p in (tmp_path / "root/coco/val2017").iterdir())
    placed = sorted(p.name for p in (tmp_path / "root/person/images").glob("*/*"))
    assert cached == placed
    assert len(cached) == 6
    asked = [path for path in coco.requests if path.startswith("/val2017")]
    assert sorted(asked) == [f"/val2017/{name}" for name in cached]


def test_a_second_run_asks_for_what_is_new(tool, coco, tmp_path):
    assert tool("--person", "--train", 4)[0] == 0
    assert tool("--person", "--train", 6, "--overwrite")[0] == 0
    assert len(coco.requests["/annotations/annotations_trainval2017.zip"]) == 1
    assert sum(len(r) for path, r in coco.requests.items() if path.startswith("/val2017")) == 6


def test_a_manifest_is_enough_on_another_machine(tool, coco, tmp_path):
    assert tool("--person", "--train", 3, "--val", 2)[0] == 0
    manifest = tmp_path / "manifest.json"
    (tmp_path / "root/person/manifest.json").rename(manifest)
    first = (tmp_path / "root/person/annotations/train.json").read_bytes()
    (tmp_path / "root").rename(tmp_path / "gone")
    assert tool("--from-manifest", manifest, download=())[0] == 2
    assert tool("--from-manifest", manifest)[0] == 0
    assert (tmp_path / "root/person/annotations/train.json").read_bytes() == first


def test_images_for_an_annotation_file_at_hand(tool, coco, tmp_path):
    assert tool("--person", "--train", 1)[0] == 0  # brings the annotation file
    file = (tmp_path / "root/coco/annotations/instances_val2017.json").rename(
        tmp_path / "mine.json"
    )
    own = ("--coco", file, "--images", tmp_path / "pics", "--classes", "dog", "--train", 3)
    code, _, err = tool(*own)
    assert code == 2
    assert "say what train belongs to, e.g. --download train=val2017" in err
    assert tool(*own, download=("--download", "train=val2017"))[0] == 0
    assert len(list((tmp_path / "pics").iterdir())) == 3


@pytest.mark.parametrize("fault", ["truncated file", "cut", "page", 500, "slow"])
def test_bad_images_are_fetched_again(tool, coco, tmp_path, fault):
    for i in range(12):
        coco.faults[f"/val2017/{i:012}.jpg"] = [fault] if i % 3 else []
    assert tool("--classes", "person", "dog", "--train", "all")[0] == 0
    for i in range(12):
        file = tmp_path / f"root/person_dog/images/train/{i:012}.jpg"
        assert file.read_bytes() == coco.files[f"/val2017/{i:012}.jpg"]


@pytest.mark.parametrize(
    "content, message",
    [
        (jpeg(0, (31, 20)), "31x20 pixels, not 30x20"),
        (jpeg(0)[:-30], "no intact image"),
        (jpeg(0, name="BMP"), "format BMP, expected JPEG"),
        (None, "HTTP 404 Not Found"),
    ],
)
def test_what_cannot_be_had_leaves_no_subset(tool, coco, tmp_path, content, message):
    coco.files["/val2017/000000000001.jpg"] = content
    code, out, err = tool("--classes", "dog", "--train", 3)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "root/dog").exists()
    assert not (tmp_path / "root/coco/val2017/000000000001.jpg").exists()


def test_a_damaged_archive_is_fetched_anew(tool, coco, tmp_path):
    whole = coco.files["/annotations/annotations_trainval2017.zip"]
    middle = len(whole) // 3
    damaged = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    coco.files["/annotations/annotations_trainval2017.zip"] = damaged
    code, _, err = tool("--person", "--train", 3)
    assert code == 2
    assert "annotations_trainval2017.zip was damaged" in err
    coco.files["/annotations/annotations_trainval2017.zip"] = whole
    assert tool("--person", "--train", 3)[0] == 0


@pytest.mark.parametrize(
    "place, value, reason",
    [(8, 1, "is encrypted"), (10, 99, "compression method is not supported")],
)
def test_an_archive_that_cannot_be_unpacked(tool, coco, tmp_path, place, value, reason):
    archive = bytearray(coco.files["/annotations/annotations_trainval2017.zip"])
    archive[archive.index(b"PK\x01\x02") + place] = value  # of the first member's entry
    coco.files["/annotations/annotations_trainval2017.zip"] = bytes(archive)
    code, _, err = tool("--person", "--train", 3)
    assert (code, err.count("\n")) == (2, 1)
    assert reason in err
    assert "is deleted; name another mirror with --base-url" in err
    assert not (tmp_path / "root/coco/annotations_trainval2017.zip").exists()


def test_names_stay_inside_the_folder(coco, tmp_path):
    server = CocoServer(tmp_path / "cache", coco.url, QUICK, progress=False)
    folder, outside = tmp_path / "pics", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "link").symlink_to(outside)
    for name, message in (("../a.jpg", "leaves the image folder"), ("link/a.jpg", "a link")):
        with pytest.raises(UserError, match=message):
            server.fetch_images("val2017", folder, [CocoImage(7, name, 20, 30)])
    assert not coco.requests
    coco.files["/val2017/a%20b%23.jpg"] = jpeg(1)
    assert server.fetch_images("val2017", folder, [CocoImage(7, "a b#.jpg", 20, 30)]) == 1


@pytest.mark.parametrize(
    "args, message",
    [
        (["--base-url", "http://x"], "--base-url goes with --download only"),
        (["--max-rate", "3"], "--max-rate goes with --download only"),
        (["--download", "val2O17"], "unknown split of COCO 'val2O17'; did you mean 'val2017'"),
        (["--download", "test=val2017"], "unknown split 'test'"),
        (["--download", "train=train2017", "--val", "2"], "say what val belongs to"),
        (["--download", "--name", "coco"], "belongs to the downloaded files of COCO"),
    ],
)
def test_mistakes_on_the_command_line(tool, args, message):
    code, out, err = tool("--person", "--train", 1, *args, download=())
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
