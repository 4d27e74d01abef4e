"""Files are found in a known order, read without trust, and downloaded whole or not at all."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from asepsis.core.errors import DataError
from asepsis.core.samples import Kind
from asepsis.data.dataset import Dataset
from asepsis.data.download import download, fetch_limit
from asepsis.data.files import Source, find, forget, locate, remembered
from asepsis.data.npz import keys_of, read_npz


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ASEPSIS_DATA", raising=False)
    monkeypatch.setenv("ASEPSIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ASEPSIS_OFFLINE", raising=False)


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(20):
                time.sleep(0.1)
                self.wfile.write(b"x")
                self.wfile.flush()
        elif self.path == "/broken":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"short")
        else:
            super().do_GET()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    root = tmp_path / "server"
    root.mkdir()
    (root / "file.npz").write_bytes(b"official content")
    handler = functools.partial(_Handler, directory=str(root))
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{running.server_address[1]}"
    running.shutdown()
    thread.join()
    running.server_close()


MD5 = hashlib.md5(b"official content").hexdigest()


def test_a_download_arrives_checked(server: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.npz"
    assert download(f"{server}/file.npz", target, MD5).read_bytes() == b"official content"
    assert [item.name for item in target.parent.iterdir()] == ["file.npz"]


@pytest.mark.parametrize(
    ("path", "md5", "limit", "says"),
    [
        ("/file.npz", "0" * 32, None, "not the official file"),
        ("/none.npz", None, None, "cannot download"),
        ("/broken", None, None, "broke 995 bytes early"),
        ("/slow", None, 0.3, "too slow|timed out"),
    ],
)
def test_a_bad_download_leaves_nothing(
    server: str, tmp_path: Path, path: str, md5: str | None, limit: float | None, says: str
) -> None:
    target = tmp_path / "new" / "file.npz"
    with fetch_limit(limit), pytest.raises(DataError, match=says):
        download(server + path, target, md5)
    assert list(target.parent.iterdir()) == []


def test_a_download_is_bounded_in_size(server: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="larger than it may be"):
        download(f"{server}/file.npz", tmp_path / "file.npz", None, max_bytes=5)
    assert not (tmp_path / "file.npz").exists()


def test_offline_refuses_before_touching_the_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ASEPSIS_OFFLINE", "1")
    with pytest.raises(DataError, match="downloads are off"):
        download("http://127.0.0.1:9/x", tmp_path / "x", None)


def test_an_unreachable_place_says_what_would_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="put the file into"):
        download("http://127.0.0.1:9/x.npz", tmp_path / "x.npz", None)


def test_files_are_found_by_path_layout_flat_and_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: str
) -> None:
    source = Source("medmnist/file.npz", url=f"{server}/file.npz", md5=MD5)
    assert find(source) is None
    cached = locate(source)
    assert cached == tmp_path / "cache" / "data" / "file.npz"
    data = tmp_path / "data"
    (data / "medmnist").mkdir(parents=True)
    monkeypatch.setenv("ASEPSIS_DATA", str(data))
    (data / "file.npz").write_bytes(b"flat")
    assert locate(source) == data / "file.npz"
    (data / "medmnist" / "file.npz").write_bytes(b"layout")
    assert locate(source) == data / "medmnist" / "file.npz"
    mine = tmp_path / "mine.npz"
    mine.write_bytes(b"mine")
    assert locate(source, str(mine)) == mine
    with pytest.raises(DataError, match="no such file"):
        locate(source, str(tmp_path / "other.npz"))


def test_what_cannot_be_downloaded_explains_how_to_get_it() -> None:
    with pytest.raises(DataError, match="ask the hospital"):
        locate(Source("ehr/private.csv", how="ask the hospital"))


def save(path: Path, **arrays: object) -> Path:
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return path


def test_only_the_arrays_asked_for_are_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=np.arange(3), y=np.array(["a", "b"]))
    assert set(read_npz(path, ["x"])) == {"x"}
    assert read_npz(path)["y"].tolist() == ["a", "b"]
    assert keys_of(path) == ["x", "y"]


def test_a_missing_array_is_named_with_a_suggestion(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", images=np.arange(3))
    with pytest.raises(DataError, match="no array 'image'; did you mean 'images'"):
        read_npz(path, ["image"])


def test_pickled_objects_are_never_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=np.array([{"evil": 1}], dtype=object))
    with pytest.raises(DataError, match="pickled"):
        read_npz(path)


def test_sizes_are_bounded_before_unpacking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "bomb.npz", x=np.zeros(20_000_000, np.uint8))
    assert path.stat().st_size < 100_000
    monkeypatch.setenv("ASEPSIS_MAX_GIB", "0.01")
    with pytest.raises(DataError, match="more than is allowed"):
        read_npz(path)


def test_a_header_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "|u1", "fortran_order": False, "shape": (10**15,)}
    )
    path = tmp_path / "liar.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", buffer.getvalue() + b"abc")
    with pytest.raises(DataError, match="header promises"):
        read_npz(path)


def damaged(content: bytes, how: str) -> bytes:
    if how == "empty":
        return b""
    if how == "text":
        return b"<html>404</html>"
    if how == "truncated":
        return content[: len(content) // 2]
    middle = len(content) // 3
    return (
        content[:middle]
        + bytes(255 - b for b in content[middle : middle + 40])
        + content[middle + 40 :]
    )


@pytest.mark.parametrize("how", ["empty", "text", "truncated", "flipped"])
def test_a_damaged_file_is_one_error_that_names_it(tmp_path: Path, how: str) -> None:
    noise = np.random.default_rng(0).integers(256, size=5000, dtype=np.uint8)
    path = save(tmp_path / "a.npz", x=noise)
    path.write_bytes(damaged(path.read_bytes(), how))
    with pytest.raises(DataError, match=r"a\.npz: damaged .*fetch it again"):
        read_npz(path)


def test_a_data_set_is_loaded_once_until_its_file_changes(tmp_path: Path) -> None:
    forget()
    path = tmp_path / "x"
    path.write_text("1")
    reads = []

    def read() -> Dataset:
        reads.append(1)
        zeros = np.zeros((2, 1), np.float32)
        return Dataset(
            name="x", kind=Kind.TABLE, inputs=zeros, targets=np.array([0, 1]), classes=("a", "b")
        )

    first = remembered("options", path, read)
    assert remembered("options", path, read) is first
    assert remembered("others", path, read) is not first
    path.write_text("22")
    assert remembered("options", path, read) is not first
    assert len(reads) == 3
