"""Who may do what in a secure cluster: five users with a password each, and an administrator with a certificate.

Each log has one writer, and only that writer's user may produce to it. Outside producers reach the inbox alone. Nobody
but the administrator makes, changes or empties a topic.
"""

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
    UserScramCredentialUpsertion,
)

from dev.certificates import make_authority, make_certificate
from dev.process import ServerFault
from dev.properties import BROKER_USER, POSTGRES_ACCESS

__all__ = ["MECHANISM", "POSTGRES", "RULES", "admin_options", "grant", "make_secrets", "user_options"]

MECHANISM = "SCRAM-SHA-512"
ADMIN = "admin"
PASSWORDS = "passwords.json"
"""Of the users."""
POSTGRES = "postgres"
"""PostgreSQL's one role. Its server's certificate has this name, its password is in a file of this name."""

READ = ("read", "describe_configs")
WRITE = (*READ, "write")
RULES: dict[str, dict[str, dict[str, tuple[str, ...]]]] = {
    "producer": {"topic": {"inbox": ("write",)}},
    "ingest": {
        "topic": {"inbox": READ, "facts": WRITE},
        "transactional_id": {"facts": ("write",)},
        "group": {"ingest": ("read",)},
    },
    "settle": {"topic": {"facts": READ, "ledger": WRITE}, "transactional_id": {"ledger": ("write",)}},
    "project": {"topic": {"facts": READ, "ledger": READ}, "group": {"project": ("read",)}},
    "reader": {"topic": {"facts": READ, "ledger": READ}},
}
"""User → kind of resource → `<prefix>.<name>` → operations. Reading and writing include describing."""


def make_secrets(folder: Path, hosts: Sequence[str]) -> None:
    """Make the certificates of the servers, under these hosts, and of the administrator; passwords; who may connect."""
    folder.mkdir(parents=True, mode=0o700)
    make_authority(folder)
    for server in (BROKER_USER, POSTGRES):
        make_certificate(folder, server, hosts)
    make_certificate(folder, ADMIN)
    passwords = {user: secrets.token_urlsafe(24) for user in RULES}
    for name, text in (
        (PASSWORDS, json.dumps(passwords, indent=2)),
        (f"{POSTGRES}.password", secrets.token_urlsafe(24)),
    ):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text, "utf-8")
    (folder / "pg_hba.conf").write_text(POSTGRES_ACCESS, "utf-8")


def admin_options(folder: Path) -> dict[str, Any]:
    """Return kafka-python's options for the administrator, at the listener BROKER."""
    certificate = str(folder / f"{ADMIN}.pem")
    return {
        "security_protocol": "SSL",
        "ssl_cafile": str(folder / "ca.pem"),
        "ssl_certfile": certificate,
        "ssl_keyfile": certificate,
    }


def user_options(folder: Path, user: str) -> dict[str, Any]:
    """Return kafka-python's options for a user, at the listener CLIENT."""
    return {
        "security_protocol": "SASL_SSL",
        "ssl_cafile": str(folder / "ca.pem"),
        "sasl_mechanism": MECHANISM,
        "sasl_plain_username": user,
        "sasl_plain_password": json.loads((folder / PASSWORDS).read_text("utf-8"))[user],
    }


def grant(servers: Sequence[str], folder: Path, prefix: str) -> None:
    """Give every user its password and what it may do under a prefix; again is the same as once.

    `servers` are addresses of the listener BROKER. Raises ServerFault if the cluster refuses any of it.
    """
    passwords = json.loads((folder / PASSWORDS).read_text("utf-8"))
    users = [UserScramCredentialUpsertion(user, MECHANISM, passwords[user]) for user in RULES]
    with KafkaAdminClient(bootstrap_servers=list(servers), **admin_options(folder)) as admin:
        refused = [fault for fault in admin.alter_user_scram_credentials(users).values() if fault is not None]
        refused += admin.create_acls(list(rules(prefix)))["failed"]
    if refused:
        raise ServerFault(f"the cluster refuses its users or rules: {refused}")


def rules(prefix: str) -> list[ACL]:
    """Return the rules under a prefix as Kafka takes them."""
    return [
        ACL(
            principal=f"User:{user}",
            host="*",
            operation=ACLOperation[operation.upper()],
            permission_type=ACLPermissionType.ALLOW,
            resource_pattern=ResourcePattern(
                ResourceType[kind.upper()], f"{prefix}.{name}", ACLResourcePatternType.LITERAL
            ),
        )
        for user, kinds in RULES.items()
        for kind, names in kinds.items()
        for name, operations in names.items()
        for operation in operations
    ]
