"""A folder with a disk of its own, in memory, that can be made full and empty again while a server uses it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Disk"]

ROOM = "1g"


class Disk:
    """A file system that is mounted on a folder; where we may not mount, the folder is like any other."""

    def __init__(self, folder: Path) -> None:
        """Make the folder, and mount; `refusal` says why not, if so."""
        self._folder = folder
        folder.mkdir(parents=True)
        self.refusal = self._mount("-t", "tmpfs", "-o", f"size={ROOM},mode=700", "omnisync")

    @contextmanager
    def full(self) -> Iterator[None]:
        """Leave no room while the block runs: the disk is as large as what is on it."""
        while self._mount("-o", f"remount,size={self._used()}"):
            # It has grown since we looked.
            pass
        try:
            yield
        finally:
            assert not self._mount("-o", f"remount,size={ROOM}")

    def close(self) -> None:
        """Take the disk away, whoever still has a file on it."""
        if not self.refusal:
            subprocess.run(["umount", "--lazy", str(self._folder)], check=True)

    def _used(self) -> int:
        found = os.statvfs(self._folder)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def _mount(self, *arguments: str) -> str:
        """Return why it was refused, if it was."""
        try:
            done = subprocess.run(["mount", *arguments, str(self._folder)], capture_output=True, text=True, check=False)
        except OSError as error:
            return str(error)
        return done.stderr.strip() if done.returncode else ""
