import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from metabench.data import download
from metabench.data.base import Builder, ClassInfo, Dataset, RemoteFile
from metabench.data.sinusoid import HARMONICS, SINUSOID
from metabench.files import InputError, read_json

BODY = bytes(range(256)) * 100
SHA = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves BODY; the path says how it misbehaves. Counts the requests."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = 0

    def url(self, path):
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests += 1
        if self.path == "/absent":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        cut = self.path == "/truncated" or (self.path == "/flaky" and self.server.requests == 1)
        self.wfile.write(BODY[:1000] if cut else BODY)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("METABENCH_MIRROR", raising=False)
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def builder(url, sha=SHA, build=None):
    return Builder("toy", "image", "none", build, files=(RemoteFile(url, sha, "toy.bin"),))


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_a_file_is_downloaded_once(server, tmp_path):
    for _ in range(2):
        download.fetch(builder(server.url("good")), tmp_path)
    assert (tmp_path / "toy.bin").read_bytes() == BODY
    assert names(tmp_path) == ["toy.bin"]
    assert server.requests == 1


def test_an_md5_is_checked_too(server, tmp_path):
    good, bad = "md5:" + hashlib.md5(BODY).hexdigest(), "md5:" + "0" * 32
    download.fetch(builder(server.url("good"), good), tmp_path / "a")
    assert names(tmp_path) == ["toy.bin"]
    with pytest.raises(InputError, match="hash"):
        download.fetch(builder(server.url("good"), bad), tmp_path / "b")


def test_a_download_that_is_cut_off_is_tried_again(server, tmp_path):
    download.fetch(builder(server.url("flaky")), tmp_path)
    assert (tmp_path / "toy.bin").read_bytes() == BODY
    assert server.requests == 2


@pytest.mark.parametrize("path", ["truncated", "absent"])
def test_a_failed_download_leaves_nothing_and_says_what_to_do(server, tmp_path, path):
    with pytest.raises(InputError) as caught:
        download.fetch(builder(server.url(path)), tmp_path)
    message = str(caught.value)
    assert server.url(path) in message
    assert str(tmp_path / "toy.bin") in message
    assert "METABENCH_MIRROR" in message
    assert names(tmp_path) == []


def test_a_wrong_hash_leaves_nothing(server, tmp_path):
    with pytest.raises(InputError, match="hash"):
        download.fetch(builder(server.url("good"), sha="0" * 64), tmp_path)
    assert names(tmp_path) == []


def test_offline_is_an_input_error_that_names_the_url_and_the_mirror(server, tmp_path):
    url = server.url("good")
    server.server_close()  # nobody answers at this port
    with pytest.raises(InputError, match="METABENCH_MIRROR") as caught:
        download.fetch(builder(url), tmp_path)
    assert url in str(caught.value)
    assert names(tmp_path) == []


def test_a_wrong_file_is_reported_and_replaced(server, tmp_path, caplog):
    (tmp_path / "toy.bin").write_bytes(BODY[:-1])
    download.fetch(builder(server.url("good")), tmp_path)
    assert (tmp_path / "toy.bin").read_bytes() == BODY
    assert "toy.bin" in caplog.text


def test_a_wrong_file_is_not_taken_for_whole_when_its_replacement_fails(server, tmp_path):
    (tmp_path / "toy.bin").write_bytes(b"old and wrong")
    with pytest.raises(InputError):
        download.fetch(builder(server.url("absent")), tmp_path)
    assert not download.pooch.hashes.hash_matches(tmp_path / "toy.bin", SHA)


def test_the_mirror_is_used_before_the_network(server, tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    (mirror / "toy").mkdir(parents=True)
    (mirror / "toy" / "toy.bin").write_bytes(BODY)
    monkeypatch.setenv("METABENCH_MIRROR", str(mirror))
    download.fetch(builder(server.url("absent")), tmp_path / "raw")
    assert (tmp_path / "raw" / "toy.bin").read_bytes() == BODY
    assert server.requests == 0


def test_a_wrong_file_in_the_mirror_is_named_and_not_taken(server, tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    (mirror / "toy").mkdir(parents=True)
    (mirror / "toy" / "toy.bin").write_bytes(b"something else")
    monkeypatch.setenv("METABENCH_MIRROR", str(mirror))
    with pytest.raises(InputError, match=r"mirror/toy/toy\.bin.*METABENCH_MIRROR"):
        download.fetch(builder(server.url("good")), tmp_path / "raw")
    assert not (tmp_path / "raw" / "toy.bin").exists()


def test_a_file_that_the_mirror_lacks_is_downloaded(server, tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_MIRROR", str(tmp_path / "empty"))
    download.fetch(builder(server.url("good")), tmp_path / "raw")
    assert (tmp_path / "raw" / "toy.bin").read_bytes() == BODY


def test_prepare_fetches_builds_and_saves(server, tmp_path):
    def build(raw: Path) -> Dataset:
        pixels = np.frombuffer((raw / "toy.bin").read_bytes()[:8], np.uint8).reshape(2, 1, 2, 2)
        classes = (ClassInfo("a", "g", "train"), ClassInfo("b", "h", "test"))
        return Dataset("toy", "image", pixels, np.array([0, 1]), classes)

    toy = builder(server.url("good"), SHA, build)
    content = download.prepare(toy, tmp_path / "raw", tmp_path / "processed/toy")
    loaded = Dataset.load(tmp_path / "processed" / "toy")
    assert loaded.x.ravel().tolist() == list(range(8))
    assert read_json(tmp_path / "processed/toy/classes.json")["digest"] == content
    assert content == download.prepare(toy, tmp_path / "raw", tmp_path / "processed/toy")


def test_prepare_of_a_regression_family_writes_a_digest_of_what_it_draws(tmp_path):
    first = download.prepare(SINUSOID, tmp_path, tmp_path / "sinusoid")
    other = download.prepare(HARMONICS, tmp_path, tmp_path / "harmonics")
    assert first != other
    assert first == download.prepare(SINUSOID, tmp_path, tmp_path / "sinusoid")
    header = read_json(tmp_path / "sinusoid" / "classes.json")
    assert header["kind"] == "regression"
    assert header["digest"] == first
