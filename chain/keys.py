"""Solana's keys: sign bytes, and check who signed them.

A key is an Ed25519 public key of 32 bytes, a signature has 64 bytes; both are written in base58. They are checked
strictly: nobody can write a signature in another way, and nothing is signed by a key of small order, for which a
signature could hold whatever the message.
"""

from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

__all__ = ["Signer", "verify"]

_SEED_BYTES = 32


def verify(key: str, message: bytes, signature: str) -> bool:
    """Tell whether `signature` is the key's over the message; text that is no key or no signature is not."""
    try:
        public_key, signed = Pubkey.from_string(key), Signature.from_string(signature)
    except ValueError:
        return False
    return signed.verify(public_key, message)


class Signer:
    """A private key. It is not shown, compared or stored; whoever holds the seed can make it again."""

    __slots__ = ("_keypair", "key")

    key: str
    """The public key in base58."""

    def __init__(self, seed: bytes) -> None:
        """Derive the key from 32 secret bytes, as RFC 8032 does. Raises: ValueError for any other length."""
        if len(seed) != _SEED_BYTES:
            raise ValueError(f"seed of {len(seed)} bytes: expected {_SEED_BYTES}")
        self._keypair = Keypair.from_seed(seed)
        self.key = str(self._keypair.pubkey())

    def __repr__(self) -> str:
        """Show the public key alone."""
        return f"Signer({self.key})"

    def sign(self, message: bytes) -> str:
        """Return the signature in base58; the same message has the same one each time."""
        return str(self._keypair.sign_message(message))
