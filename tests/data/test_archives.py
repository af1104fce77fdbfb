"""Downloads are read where they are, and what should not be trusted is not."""

from __future__ import annotations

import io
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgvos.data import archives
from surgvos.data.archives import FileTree
from surgvos.errors import InputError


def write_zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as target:
        for name, content in files.items():
            # The name as it is: ZipInfo would tidy some of what is tested here.
            member = zipfile.ZipInfo()
            member.filename = name
            member.compress_type = compression
            target.writestr(member, content)
    return path


def write_tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as target:
        for member in members:
            target.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname = kind, size, link
    return member


def test_folders_and_archives_are_one_tree(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", {"x/one.txt": b"1", "x/two.txt": b"2"})
    (tmp_path / "deep").mkdir()
    write_zip(tmp_path / "deep" / "B.ZIP", {"three.txt": b"3"})
    (tmp_path / "four.txt").write_bytes(b"4")
    with FileTree.open(tmp_path) as files:
        assert {name: files.read(name) for name in files if name.endswith(".txt")} == {
            "a/x/one.txt": b"1",
            "a/x/two.txt": b"2",
            "deep/B/three.txt": b"3",
            "four.txt": b"4",
        }
        assert files.where("a/x/one.txt") == f"{tmp_path}/a.zip: x/one.txt"
        assert files.where("four.txt") == f"{tmp_path}/four.txt"


def test_what_is_unpacked_counts_before_its_archive(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", {"one.txt": b"packed"})
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.txt").write_bytes(b"unpacked")
    with FileTree.open(tmp_path) as files:
        assert files.read("a/one.txt") == b"unpacked"


def test_several_sources_are_one_tree(tmp_path: Path) -> None:
    first = write_zip(tmp_path / "first.zip", {"one.txt": b"1"})
    second = write_zip(tmp_path / "second.zip", {"two.txt": b"2"})
    with FileTree.open(first, second) as files:
        assert sorted(files) == ["first/one.txt", "second/two.txt"]


def test_what_systems_leave_behind_is_left_out(tmp_path: Path) -> None:
    junk = ["__MACOSX/x/._one.png", ".DS_Store", "x/.DS_Store", "x/._one.png", "x/Thumbs.db", "desktop.ini"]
    write_zip(tmp_path / "a.zip", dict.fromkeys(junk, b"") | {"x/one.png": b"1"})
    with FileTree.open(tmp_path / "a.zip") as files:
        assert list(files) == ["a/x/one.png"]


def test_names_of_windows_are_understood(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", {"x\\one.png": b"1"})
    with FileTree.open(tmp_path / "a.zip") as files:
        assert files.read("a/x/one.png") == b"1"


def test_a_link_that_leads_back_up_does_not_trap(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "one.txt").write_bytes(b"1")
    (tmp_path / "x" / "up").symlink_to(tmp_path)
    with FileTree.open(tmp_path) as files:
        assert "x/one.txt" in files
        assert len(files) <= 2


def test_a_folder_can_be_left_out(tmp_path: Path) -> None:
    for name in ("in/one.txt", "out/two.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    with FileTree.open(tmp_path, leave_out=tmp_path / "out") as files:
        assert list(files) == ["in/one.txt"]


ESCAPES = ["../evil.png", "x/../../evil.png", "/etc/evil.png", "C:/evil.png", "c:\\evil.png", "..\\evil.png", "x/.."]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_that_lead_out_are_refused(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        write_zip(path, {"fine.png": b"", name: b""})
    else:
        write_tar(path, tar_member("fine.png"), tar_member(name))
    with pytest.raises(InputError, match=rf"expected an archive of plain files, got .*a\.{kind}.*leads out of it"):
        FileTree.open(path)


@given(
    parts=st.lists(st.sampled_from(["a", "b.png", ".", "..", "", "C:"]), min_size=1, max_size=5),
    separator=st.sampled_from("/\\"),
)
def test_no_name_that_is_taken_leads_out(
    parts: list[str], separator: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    raw = separator.join(parts)
    root = Path("/inside")
    try:
        name = archives._checked_name(Path("a.zip"), raw)
    except InputError:
        return
    assert not Path(name).is_absolute()
    assert ".." not in Path(name).parts
    assert (root / name).resolve().is_relative_to(root)


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    member = zipfile.ZipInfo("link.png")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as target:
        target.writestr(member, "/etc/passwd")
    with pytest.raises(InputError, match=r"'link.png', which is a link or a device"):
        FileTree.open(tmp_path / "a.zip")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", tar_member("odd.png", kind, link="/etc/passwd"))
    with pytest.raises(InputError, match=r"'odd.png', which is a link or a device"):
        FileTree.open(path)


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"one.png": b"1"})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"which is encrypted; try unpacking it with its password"):
        FileTree.open(path)


def test_members_beyond_reason_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"one.png": bytes(2**20 + 1)}, zipfile.ZIP_DEFLATED)
    central = path.read_bytes().index(b"PK\1\2")
    for size, sentence in ((2**31, "of 2048 MB, more than 256 MB"), (200 * 2**20, "which grows from")):
        content = bytearray(path.read_bytes())
        content[central + 24 : central + 28] = struct.pack("<I", size)
        (tmp_path / "b.zip").write_bytes(content)
        with pytest.raises(InputError, match=sentence):
            FileTree.open(tmp_path / "b.zip")


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"x/one.png": b"1234567890"})
    content = path.read_bytes().replace(b"1234567890", b"12345-7890")
    path.write_bytes(content)
    with FileTree.open(path) as files, pytest.raises(InputError, match=r"a\.zip: x/one\.png.*try downloading it again"):
        files.read("a/x/one.png")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_zip_is_refused(share: float, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {f"{i}.png": bytes(5000) for i in range(9)})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=r"expected a whole archive, got .*a\.zip.*; try downloading it again"):
        FileTree.open(path)


def test_a_tar_that_ends_within_a_file_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", *(tar_member(f"{i}.png", size=5000) for i in range(9)))
    path.write_bytes(path.read_bytes()[: 6 * (512 + 5120) + 512 + 100])

    def read_all() -> None:
        with FileTree.open(path) as files:
            for name in files:
                files.read(name)

    with pytest.raises(InputError, match=r"expected .*, got .*a\.tar.*; try downloading it again"):
        read_all()


@pytest.mark.parametrize(
    ("name", "hint"), [("a.tar.gz", "unpacking it"), ("a.7z", "unpacking it"), ("a.mp4", "a folder of downloads")]
)
def test_other_files_are_refused(name: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=rf"expected a folder, a zip or .*; try {hint}"):
        FileTree.open(tmp_path / name)


def test_a_missing_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which does not exist"):
        FileTree.open(tmp_path / "nowhere")
