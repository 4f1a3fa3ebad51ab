"""The command as it is started: `omnisync`, or `python -m app`."""

import gc

__all__ = ["main"]


def main() -> None:
    """Run a command. Nothing that is imported is garbage: to look for it takes up to a twelfth of the start."""
    gc.disable()
    from app.cli import main as run

    gc.enable()
    run()


if __name__ == "__main__":
    main()
