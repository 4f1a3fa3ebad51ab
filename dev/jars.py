"""Apache Kafka's jars: fetched once by Maven, at the versions that `dev/pom.xml` pins, into the cache.

What this needs and does not find it names: Java 17 or newer, and Maven for the first time.
"""

import fcntl
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from dev.process import ServerFault

__all__ = ["JAVA_MIN", "cache", "fetch_jars", "kafka_version"]

JAVA_MIN = 17
POM = Path(__file__).with_name("pom.xml")
CACHE = Path(__file__).resolve().parents[1] / ".cache"


def kafka_version() -> str:
    """Return the pinned version of Apache Kafka."""
    version = ElementTree.parse(POM).findtext("properties/kafka.version")
    assert version, f"{POM} pins no kafka.version"
    return version


@contextmanager
def cache() -> Iterator[Path]:
    """Give the folder of the cache to one process at a time."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield CACHE


def fetch_jars() -> Path:
    """Return the folder of the jars, filled if it was not. Raises ServerFault naming what is missing."""
    check_java()
    with cache() as kept:
        folder = kept / f"kafka-{kafka_version()}"
        if not folder.is_dir():
            copy_jars(folder)
    return folder


def copy_jars(folder: Path) -> None:
    """Let Maven resolve and copy; the folder appears only when it is complete."""
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerFault("missing: Maven, to fetch Kafka's jars once (Debian and Ubuntu: package maven)")
    part = folder.with_name(f"{folder.name}.part")
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={part}", "-DincludeScope=runtime"]
    done = subprocess.run([maven, "-B", "-q", "-f", POM, *goal], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerFault(f"Maven did not fetch the jars of {POM}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    part.rename(folder)


def check_java() -> None:
    """Raise ServerFault unless `java` is new enough for the broker."""
    need = f"Java {JAVA_MIN} or newer, to run Kafka (Debian and Ubuntu: package openjdk-{JAVA_MIN}-jre-headless)"
    java = shutil.which("java")
    if java is None:
        raise ServerFault(f"missing: {need}")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    if found is None or int(found[1]) < JAVA_MIN:
        raise ServerFault(f"missing: {need}; {java} says {said.strip()}")
