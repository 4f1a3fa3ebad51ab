"""The native library: `native.c`, compiled where there is a C compiler, and never needed.

It lies in the environment under the digest of its source, so that it is never older than that. Without it the same
functions are done in Python: slower, and alike to the byte.

    python -m events.native        compiles it, or says that there is no compiler
"""

import ctypes
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

__all__ = ["address", "build", "load", "pointer"]

_SOURCE = Path(__file__).with_name("native.c")
_COMPILERS = ("cc", "gcc", "clang")
_FLAGS = ("-O3", "-std=c11", "-shared", "-fPIC")


@lru_cache
def load() -> ctypes.CDLL | None:
    """Return the library, or None where it was not compiled."""
    path = _library()
    if not path.exists():
        return None
    library = ctypes.CDLL(str(path))
    library.extend_crc32.restype = ctypes.c_uint32
    library.number_texts.restype = ctypes.c_int64
    library.match_lines.restype = ctypes.c_int64
    library.render_lines.restype = ctypes.c_int64
    library.count_lines.restype = ctypes.c_int64
    library.split_lines.restype = ctypes.c_int64
    return library


def build() -> Path | None:
    """Compile the library unless it is there; return where it lies, or None without a compiler that can.

    Raises: OSError.
    """
    path = _library()
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if path.exists() or compiler is None:
        return path if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        fresh = Path(folder) / path.name
        done = subprocess.run([compiler, *_FLAGS, "-o", str(fresh), str(_SOURCE)], check=False, capture_output=True)
        if done.returncode:
            return None
        fresh.replace(path)
    return path


def address(array: Any) -> int:
    """Return where an array's numbers lie. The array must be kept."""
    # First behind the head of NumPy's array object, by its C interface; `array.ctypes` takes ten times as long.
    return ctypes.c_void_p.from_address(id(array) + object.__basicsize__).value or 0


def pointer(array: Any) -> ctypes.c_void_p:
    """Return where an array's numbers lie, as a function of the library takes it. The array must be kept."""
    return ctypes.c_void_p(address(array))


def _library() -> Path:
    name = f"{platform.machine()}-{sha256(_SOURCE.read_bytes()).hexdigest()[:16]}"
    return Path(sys.prefix) / "lib" / "omnisync" / f"native-{name}.so"


def _describe() -> str:
    try:
        return "ready" if build() else "no C compiler that works; Python does it, slower and alike"
    except OSError as error:
        return f"not kept ({error}); Python does it, slower and alike"


if __name__ == "__main__":
    print("native library:", _describe())
