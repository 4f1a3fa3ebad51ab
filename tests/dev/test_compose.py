"""The compose files give users the settings that are tested here, by the word of the image's own program."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from dev.access import make_secrets
from dev.jars import fetch_jars, kafka_version, postgres_version
from dev.postgres import VERSION
from dev.properties import addresses, broker, postgres

REPO = Path(__file__).resolve().parents[2]
FILES = {"compose.yaml": False, "docs/compose.secure.yaml": True}
OF_THE_PLACE = {*addresses(1, "", {name: [0] for name in ("CLIENT", "BROKER", "CONTROLLER")}), "log.dirs"}


def environment(file: str) -> dict[str, str]:
    """Return the variables of the service `kafka` as its container sees them."""
    text = (REPO / file).read_text("utf-8")
    found = re.findall(r'^      (CLUSTER_ID|KAFKA_\w+): (?:"(.*)"|(.*))$', text, re.MULTILINE)
    return {name: (quoted or plain).replace("$$", "$") for name, quoted, plain in found}


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_the_image_makes_the_tested_settings_of_the_file(file: str, tmp_path: Path) -> None:
    make_secrets(tmp_path / "secrets", ["IP:127.0.0.1"])
    data, configured = tmp_path / "data", tmp_path / "configured"
    configured.mkdir()
    given = {**environment(file), "KAFKA_LOG_DIRS": str(data)}
    for name in {"KAFKA_SSL_KEYSTORE_LOCATION", "KAFKA_SSL_TRUSTSTORE_LOCATION"} & set(given):
        given[name] = given[name].replace("/etc/kafka/secrets", str(tmp_path / "secrets"))

    setup = ["kafka.docker.KafkaDockerWrapper", "setup"]
    for option, folder in (("-D", tmp_path / "none"), ("-M", tmp_path / "none"), ("-F", configured)):
        setup += [option, str(folder)]
    subprocess.run(
        ["java", "-Xmx128m", "-cp", f"{fetch_jars()}/*", *setup], env={"PATH": os.environ["PATH"], **given}, check=True
    )

    lines = (configured / "server.properties").read_text("utf-8").split("\n")
    made = dict(line.split("=", 1) for line in lines if line)
    secure = FILES[file]
    expected = broker(1, secure)
    of_the_place = OF_THE_PLACE | ({"ssl.keystore.location", "ssl.truststore.location"} if secure else set())
    assert {name: value for name, value in made.items() if name not in of_the_place} == expected
    assert made.keys() - expected.keys() == of_the_place
    assert f"cluster.id={given['CLUSTER_ID']}" in (data / "meta.properties").read_text("utf-8")


@pytest.mark.parametrize("file", FILES)
def test_the_images_are_of_the_tested_versions(file: str) -> None:
    images = re.findall(r"^    image: (.+):(.+)$", (REPO / file).read_text("utf-8"), re.MULTILINE)

    assert images[0] == ("apache/kafka", kafka_version())
    assert images[1][0] == "postgres"
    assert images[1][1].split(".")[0] == str(VERSION)
    assert postgres_version() == f"{images[1][1]}.0"


@pytest.mark.parametrize("file", FILES)
def test_postgresql_has_the_tested_settings(file: str) -> None:
    settings = re.findall(r"^      - -c\n      - (\w+)=(.+)$", (REPO / file).read_text("utf-8"), re.MULTILINE)

    assert dict(settings) == postgres("/etc/omnisync" if FILES[file] else None)


def test_a_secure_postgresql_finds_its_secrets_in_the_container() -> None:
    text = (REPO / "docs/compose.secure.yaml").read_text("utf-8")
    mounted = dict(re.findall(r"^      - \./secrets/([\w.]+):(/etc/omnisync/[\w.]+):ro$", text, re.MULTILINE))

    assert mounted == {name: f"/etc/omnisync/{name}" for name in ("postgres.pem", "pg_hba.conf")}
    assert postgres("/etc/omnisync").items() >= {
        ("ssl_cert_file", mounted["postgres.pem"]),
        ("hba_file", mounted["pg_hba.conf"]),
    }
