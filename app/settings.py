"""The one place that reads the environment.

OMNISYNC_DATA       the folder of the embedded books (the `--data` option)
OMNISYNC_KILL_AT    "step" or "step:n": die when a named step is reached for the n-th time (fault tests only)
"""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

__all__ = ["Settings", "read_settings"]


class Settings(BaseModel):
    """What the process was told by its environment."""

    model_config = ConfigDict(frozen=True)

    data: Path | None = None
    kill_at: str | None = None


def read_settings() -> Settings:
    """Read the environment once."""
    return Settings.model_validate(
        {
            "data": os.environ.get("OMNISYNC_DATA"),
            "kill_at": os.environ.get("OMNISYNC_KILL_AT"),
        }
    )
