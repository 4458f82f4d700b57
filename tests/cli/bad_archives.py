"""Bad archives, beside the bad data of `bad_data`."""

import os
import shutil
import tarfile

from tests.cli.bad_data import MEMBERS, classes, kind, png, zipped


@kind("empty", "data", "prepare", "bad.zip")
def an_empty_zip_file(bad):
    bad.with_suffix(".zip").write_bytes(b"")


@kind("web page", "data", "prepare", "bad.zip")
def a_web_page_called_zip(bad):
    bad.with_suffix(".zip").write_text("<!DOCTYPE html><html>Quota exceeded</html>")


@kind("web page", "data", "prepare", "bad.tar.gz")
def a_web_page_called_tar(bad):
    bad.with_suffix(".tar.gz").write_text("<html>Please log in</html>")


@kind("damaged or no archive", "data", "prepare", "bad.zip")
def noise_called_zip(bad):
    bad.with_suffix(".zip").write_bytes(os.urandom(4000))


@kind("damaged or no archive", "data", "prepare", "bad.zip")
def a_truncated_zip(bad):
    zipped(bad.with_suffix(".zip"), MEMBERS)
    content = bad.with_suffix(".zip").read_bytes()
    bad.with_suffix(".zip").write_bytes(content[: len(content) // 2])


@kind("damaged", "data", "prepare", "bad.zip")
def a_damaged_zip(bad):
    zipped(bad.with_suffix(".zip"), [("a/0.png", os.urandom(4000)), *MEMBERS])
    content = bytearray(bad.with_suffix(".zip").read_bytes())
    content[1000:1100] = bytes(100)
    bad.with_suffix(".zip").write_bytes(content)


@kind("outside", "data", "prepare", "bad.zip")
def a_zip_that_climbs(bad):
    zipped(bad.with_suffix(".zip"), [("../../outside.png", png()), *MEMBERS])


@kind("outside", "data", "prepare", "bad.zip")
def a_zip_with_an_absolute_path(bad):
    zipped(bad.with_suffix(".zip"), [("/outside.png", png()), *MEMBERS])


@kind("encrypted", "data", "prepare", "bad.zip")
def an_encrypted_zip(bad):
    zipped(bad.with_suffix(".zip"), MEMBERS, flags=1)


@kind("twice", "data", "prepare", "bad.zip")
def a_zip_with_a_file_twice(bad):
    zipped(bad.with_suffix(".zip"), [*MEMBERS, MEMBERS[0]])


@kind("no data set", "data", "prepare", "bad.zip")
def a_zip_of_nothing(bad):
    zipped(bad.with_suffix(".zip"), [])


def tar_with(bad, kind_of_member, **fields):
    with tarfile.open(bad.with_suffix(".tar.gz"), "w:gz") as archive:
        member = tarfile.TarInfo("a/0.png")
        member.type = kind_of_member
        for name, value in fields.items():
            setattr(member, name, value)
        archive.addfile(member)


@kind("a link or device", "data", "prepare", "bad.tar.gz")
def a_tar_with_a_link(bad):
    tar_with(bad, tarfile.SYMTYPE, linkname="/etc/passwd")


@kind("a link or device", "data", "prepare", "bad.tar.gz")
def a_tar_with_a_device(bad):
    tar_with(bad, tarfile.CHRTYPE)


@kind("outside", "data", "prepare", "bad.tar.gz")
def a_tar_that_climbs(bad):
    tar_with(bad, tarfile.REGTYPE, name="../../outside.png")


@kind("damaged", "data", "prepare", "bad.tar.gz")
def a_truncated_tar(bad):
    classes(bad, {"a": 20})
    with tarfile.open(bad.with_suffix(".tar.gz"), "w:gz") as archive:
        archive.add(bad, "set")
    content = bad.with_suffix(".tar.gz").read_bytes()
    bad.with_suffix(".tar.gz").write_bytes(content[: len(content) // 2])
    shutil.rmtree(bad)
