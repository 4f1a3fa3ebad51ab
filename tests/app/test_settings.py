"""Settings: the file, the environment above it, what is refused, and what is never shown."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli import cli
from app.settings import Key, Settings, SettingsInvalid, list_keys, read_settings

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"
SECRET = "pa55-w0rd"
CLUSTER = f"""
cache = "cache"
[kafka]
servers = ["k1:9093", "[::1]:9093"]
security_protocol = "SASL_SSL"
user = "settle"
password = "{SECRET}"
[postgres]
url = "postgresql://omnisync:{SECRET}@db:5432/books"
[metrics]
port = 9464
"""


def read(tmp_path: Path, text: str, environment: Mapping[str, str] | None = None) -> Settings:
    """Read a file of settings, and what stands above it."""
    path = tmp_path / "omnisync.toml"
    path.write_text(text)
    return read_settings(path, environment or {})


def test_nothing_told_is_embedded_books_and_text_logs() -> None:
    settings = read_settings(None, {})

    assert settings == Settings()
    assert (settings.kafka, settings.postgres, settings.metrics.port) == (None, None, None)
    assert (settings.log.format, settings.log.level, settings.metrics.address) == ("text", "warning", "127.0.0.1")


def test_a_file_says_all_of_a_cluster(tmp_path: Path) -> None:
    settings = read(tmp_path, CLUSTER)

    assert settings.kafka is not None
    assert settings.kafka.servers == ("k1:9093", "[::1]:9093")
    assert settings.kafka.password is not None
    assert settings.kafka.password.get_secret_value() == SECRET
    assert (settings.kafka.prefix, settings.kafka.sasl_mechanism) == ("omnisync", "SCRAM-SHA-512")
    assert settings.postgres is not None
    assert SECRET in settings.postgres.url.get_secret_value()
    assert settings.metrics.port == 9464


def test_the_environment_wins_over_the_file_key_by_key(tmp_path: Path) -> None:
    told = {"OMNISYNC_KAFKA_SERVERS": "a:1, b:2", "OMNISYNC_METRICS_PORT": "0", "OMNISYNC_LOG_FORMAT": "", "PATH": "x"}
    settings = read(tmp_path, CLUSTER, told)

    assert settings.kafka is not None
    assert (settings.kafka.servers, settings.kafka.user) == (("a:1", "b:2"), "settle")
    assert (settings.metrics.port, settings.log.format) == (0, "text")


def test_the_environment_names_the_file_where_no_option_does(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(f'data = "{name}"')
    told = {"OMNISYNC_CONFIG": str(tmp_path / "one")}

    assert read_settings(None, told).data == Path("one")
    assert read_settings(tmp_path / "two", told).data == Path("two")
    assert read_settings(None, told | {"OMNISYNC_DATA": "three"}).data == Path("three")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour = 1", "colour: no such key"),
        ("[kafka]\nservers = ['a:1']\nsevers = 1", "kafka.severs: no such key"),
        ("[kafka]", "kafka.servers: is missing"),
        ("[kafka]\nservers = []", "kafka.servers: "),
        ("[kafka]\nservers = 'a'", "kafka.servers: each is host:port"),
        ("[kafka]\nservers = ['a:1']\nprefix = 'a.b'", "kafka.prefix: "),
        ("[kafka]\nservers = ['a:1']\nreplication = 0", "kafka.replication: "),
        ("[kafka]\nservers = ['a:1']\nuser = 'u'", "kafka: user and password belong to a SASL_… security_protocol"),
        ("[kafka]\nservers = ['a:1']\nsecurity_protocol = 'SASL_SSL'", "kafka: user and password belong to"),
        ("[kafka]\nservers = ['a:1']\nca_file = 'ca'", "kafka: ca_file belongs to"),
        ("[kafka]\nservers = ['a:1']\nsasl_mechanism = 'PLAIN'", "kafka.sasl_mechanism: "),
        (f"[postgres]\nurl = 'mysql://u:{SECRET}@h/x'", "postgres.url: it begins with postgresql://"),
        (f"[postgres]\nurl = ['{SECRET}']", "postgres.url: "),
        ("[metrics]\nport = 65536", "metrics.port: "),
        ("[log]\nlevel = 'loud'", "log.level: "),
        ("kafka = 3", "kafka: "),
        (f"[kafka]\npassword = {SECRET}", "omnisync.toml is no TOML: at line 2, column"),
        (f"[kafka]\npassword = '{SECRET}", "omnisync.toml is no TOML"),
    ],
)
def test_what_is_wrong_is_refused_by_its_key_and_no_value_is_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        read(tmp_path, text)

    assert said in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_variable_that_nobody_knows_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="OMNISYNC_KAFKA_SEVERS: no such variable; OMNISYNC_X: no such"):
        read_settings(None, {"OMNISYNC_X": "1", "OMNISYNC_KAFKA_SEVERS": SECRET})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"none\.toml: No such file"):
        read_settings(tmp_path / "none.toml", {})


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    settings = read(tmp_path, CLUSTER)

    shown = f"{settings} {settings!r} {settings.kafka!r} {settings.postgres} {settings.model_dump_json()}"
    assert SECRET not in shown


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_settings(None, {}).data = Path("x")


def test_the_command_line_refuses_wrong_settings(tmp_path: Path) -> None:
    path = tmp_path / "omnisync.toml"
    path.write_text("colour = 1")

    result = CliRunner().invoke(cli, ["supply", "--config", str(path), "--data", str(tmp_path)])

    assert (result.exit_code, result.stdout) == (1, "")
    assert isinstance(result.exception, SettingsInvalid)


def test_the_file_says_where_the_books_are_unless_an_option_does(tmp_path: Path) -> None:
    path = tmp_path / "omnisync.toml"
    path.write_text(f'data = "{tmp_path / "told"}"')

    for words in ([], ["--data", str(tmp_path / "option")]):
        assert CliRunner().invoke(cli, ["init", "--config", str(path), *words]).exit_code == 0

    assert (tmp_path / "told" / "facts").exists()
    assert (tmp_path / "option" / "facts").exists()


def test_the_docs_have_every_key(update_golden: bool) -> None:
    before, _, _ = DOCS.read_text().partition("\n## ")
    text = before.rstrip("\n") + "\n" + "".join(f"\n{part}" for part in _sections())
    if update_golden:
        DOCS.write_text(text)

    assert DOCS.read_text() == text, "docs/configuration.md is stale: run this test with --update-golden"


def test_the_example_in_the_docs_is_read() -> None:
    example = re.search(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert example is not None

    values = tomllib.loads(example[1])
    values["kafka"]["password"] = SECRET
    assert Settings.model_validate(values).metrics.port == 9464


def _sections() -> list[str]:
    keys = list(list_keys())
    return [
        _section(name, [key for key in keys if key.section == name]) for name in dict.fromkeys(k.section for k in keys)
    ]


def _section(name: str, keys: list[Key]) -> str:
    title = f"## `[{name}]`" if name else "## Without a section"
    rows = [f"| `{key.name}` | `{key.variable}` | {_default(key)} | {key.description} |\n" for key in keys]
    return f"{title}\n\n| key | variable | default | |\n|---|---|---|---|\n" + "".join(rows)


def _default(key: Key) -> str:
    if key.is_required:
        return "required"
    return "–" if key.default is None else f"`{key.default}`"
