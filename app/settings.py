"""What the process was told: one TOML file and the environment, which wins. The one place that reads the environment.

    key `prefix` of `[kafka]`   =   OMNISYNC_KAFKA_PREFIX             (docs/configuration.md has them all)

A key that nobody knows refuses to start, in the file and in the environment. Secrets are `SecretStr`: no repr, no error
and no log shows them.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

__all__ = [
    "KafkaSettings",
    "Key",
    "LogSettings",
    "MetricsSettings",
    "PostgresSettings",
    "Settings",
    "SettingsInvalid",
    "list_keys",
    "read_settings",
]

_PREFIX = "OMNISYNC_"
_CONFIG = _PREFIX + "CONFIG"
_SERVER = re.compile(r"[^\s:,]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5}")
PORT_MAX = 65_535


class SettingsInvalid(Exception):
    """The settings are refused; the message names each key and what is wrong with it, and no value."""


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class _Section(BaseModel):
    """Refuses keys that nobody knows, and keeps values out of its errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class KafkaSettings(_Section):
    """The brokers of a cluster, and how to sign on to them."""

    servers: Annotated[tuple[str, ...], BeforeValidator(_split)] = Field(
        min_length=1, description="Brokers to begin with, `host:port`; in the environment with commas between them."
    )
    prefix: str = Field(
        default="omnisync", pattern=r"^[A-Za-z0-9_-]{1,60}$", description="What the topics' names begin with."
    )
    replication: int = Field(default=3, ge=1, le=9, description="On how many brokers each topic is kept.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="Whether connections are encrypted and sign on."
    )
    sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256"] = Field(
        default="SCRAM-SHA-512", description="How to sign on, with a `SASL_…` protocol."
    )
    user: str | None = Field(default=None, description="Who signs on, with a `SASL_…` protocol.")
    password: SecretStr | None = Field(default=None, description="The user's password.")
    ca_file: Path | None = Field(
        default=None, description="Certificates that sign the brokers'; without it those of the system."
    )
    cert_file: Path | None = Field(
        default=None, description="Our own certificate and its key, to show with protocol `SSL` in place of a password."
    )

    @field_validator("servers")
    @classmethod
    def _check_servers(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        for server in servers:
            if not _SERVER.fullmatch(server):
                raise ValueError("each is host:port")
        return servers

    @model_validator(mode="after")
    def _check_protocol(self) -> Self:
        signs_on = self.security_protocol.startswith("SASL_")
        if signs_on != (self.user is not None) or signs_on != (self.password is not None):
            raise ValueError("user and password belong to a SASL_… security_protocol, and it needs both")
        if self.ca_file is not None and not self.security_protocol.endswith("SSL"):
            raise ValueError("ca_file belongs to a security_protocol that ends in SSL")
        if self.cert_file is not None and self.security_protocol != "SSL":
            raise ValueError("cert_file belongs to the security_protocol SSL")
        return self


class PostgresSettings(_Section):
    """The database of a cluster's projections."""

    url: SecretStr = Field(
        description="`postgresql://user:password@host:port/name`; over TLS with "
        "`?sslmode=verify-full&sslrootcert=ca.pem` at its end."
    )
    roles: bool = Field(
        default=False, description="Let `init` create the roles omnisync_project and omnisync_read, if it may."
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("postgresql://", "postgresql+psycopg://")):
            raise ValueError("it begins with postgresql://")
        return url


class MetricsSettings(_Section):
    """Where a process serves its metrics, for Prometheus."""

    port: int | None = Field(
        default=None, ge=0, le=PORT_MAX, description="Serve metrics on this port; 0 takes a free one; without it none."
    )
    address: str = Field(default="127.0.0.1", min_length=1, description="The address that is listened on.")


class LogSettings(_Section):
    """How a process logs, on standard error."""

    format: Literal["text", "json"] = Field(default="text", description="For people, or a JSON object per line.")
    level: Literal["debug", "info", "warning", "error"] = Field(default="warning", description="The least to tell.")


class Settings(_Section):
    """All of it. Without `kafka` the books are embedded ones."""

    data: Path | None = Field(default=None, description="Folder of the embedded books (the option `--data` wins).")
    cache: Path | None = Field(
        default=None, description="Folder for what a cluster's process may keep beside its logs, and lose."
    )
    kill_at: str | None = Field(
        default=None, description="`step` or `step:n`: die when a step is reached for the n-th time (fault tests)."
    )
    kafka: KafkaSettings | None = None
    postgres: PostgresSettings | None = None
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()

    def has_cluster(self) -> bool:
        """Tell whether the books are a cluster's. Who ingests or settles needs no database."""
        return self.kafka is not None


class Key(NamedTuple):
    """One key: its section (empty for those without), its name in the file and in the environment, its description."""

    section: str
    name: str
    variable: str
    default: Any
    is_required: bool
    description: str


def list_keys() -> Iterator[Key]:
    """Yield all keys, in the order of the model."""
    for name, field in Settings.model_fields.items():
        section = _section_of(field.annotation)
        fields = {name: field} if section is None else section.model_fields
        for key, told in fields.items():
            yield Key(
                section="" if section is None else name,
                name=key,
                variable=_PREFIX + ("" if section is None else f"{name}_").upper() + key.upper(),
                default=None if told.is_required() else told.default,
                is_required=told.is_required(),
                description=told.description or "",
            )


def read_settings(config: Path | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read `config`, else the file that OMNISYNC_CONFIG names, if any, and the environment. Raises: SettingsInvalid.

    A variable that is empty counts as absent.
    """
    told = {name: value for name, value in environment.items() if name.startswith(_PREFIX) and value}
    named = told.pop(_CONFIG, None)
    path = config or (Path(named) if named else None)
    values = {} if path is None else _read_file(path)
    variables = {key.variable: key for key in list_keys()}
    unknown = [f"{name}: no such variable" for name in sorted(told.keys() - variables.keys())]
    for name in told.keys() & variables.keys():
        key = variables[name]
        section = values.setdefault(key.section, {}) if key.section else values
        if isinstance(section, dict):
            section[key.name] = told[name]
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        unknown += [_explain(fault["loc"], fault["type"], fault["msg"]) for fault in error.errors(include_input=False)]
    if unknown:
        raise SettingsInvalid("; ".join([*unknown, "docs/configuration.md lists all keys"]))
    return settings


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsInvalid(f"{path}: {error.strerror}") from None
    except ValueError as error:
        # The text itself may hold a secret: of the error only the place is told.
        place = re.search(r"at line \d+, column \d+", str(error))
        raise SettingsInvalid(f"{path} is no TOML" + (f": {place[0]}" if place else "")) from None


def _explain(place: tuple[int | str, ...], kind: str, message: str) -> str:
    name = ".".join(map(str, place)) or "settings"
    said = {"extra_forbidden": "no such key", "missing": "is missing"}.get(kind, message.removeprefix("Value error, "))
    return f"{name}: {said}"


def _section_of(annotation: Any) -> type[_Section] | None:
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, _Section):
            return kind
    return None
