"""The command as it is started: `omnisync`, or `python -m app`."""

import gc
import os

__all__ = ["main"]


def main() -> None:
    """Run a command. Nothing that is imported is garbage: to look for it takes up to a twelfth of the start.

    Nor does anything here multiply matrices of floats: the threads that NumPy starts for that, one for each processor,
    spin at first, which takes up to a tenth of it.
    """
    os.putenv("OPENBLAS_NUM_THREADS", "1")
    gc.disable()
    from app.cli import main as run

    gc.enable()
    run()


if __name__ == "__main__":
    main()
