"""How a process of ours keeps its memory: what is freed is at hand for the next batch.

Batches of a few megabytes come and go. By default glibc gives each back to the system, which clears its pages and maps
them anew for the next: a quarter of the projector's time.
"""

import ctypes
import gc

__all__ = ["keep_memory"]

# glibc's names for what `mallopt` sets, and the most that it takes for the second.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 128 * 1024 * 1024
_MAPPED_BYTES = 32 * 1024 * 1024


def keep_memory() -> None:
    """Let the collector pass over what was imported, and the allocator keep what is freed; once, as a process begins.

    Where the C library is another than glibc, it goes its own way.
    """
    # It stays to the end: the collector need not look at it, least of all as the process ends.
    gc.freeze()
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_TRIM_THRESHOLD, _KEPT_BYTES)
        set_option(_MMAP_THRESHOLD, _MAPPED_BYTES)
