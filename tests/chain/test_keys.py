"""Signatures by Solana's keys: those of RFC 8032 hold, and what is not one never does, nor raises."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey
from solders.signature import Signature

from chain.keys import Signer, verify
from tests.strategies import texts

# RFC 8032, section 7.1: secret key, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
]
PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
SIGNER = Signer(bytes(32))
# The eight points of small order, and the other ways to write some of them.
SMALL_ORDER = [
    number.to_bytes(32, "little")
    for number in (
        0,
        1,
        PRIME - 1,
        PRIME,
        PRIME + 1,
        2**255,
        2**255 + 1,
        2**255 + PRIME - 1,
        2**255 + PRIME,
        2**256 - 18,
    )
] + [
    bytes.fromhex(f"{start}{last}")
    for start, last in product(
        (
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc",
        ),
        ("7a", "fa", "05", "85"),
    )
]


def key_of(raw: bytes) -> str:
    return str(Pubkey(raw))


def signature_of(raw: bytes) -> str:
    return str(Signature.from_bytes(raw))


@pytest.mark.parametrize(("seed", "key", "message", "signature"), RFC_8032)
def test_signs_and_verifies_as_the_standard_says(seed: str, key: str, message: str, signature: str) -> None:
    signer = Signer(bytes.fromhex(seed))

    assert signer.key == key_of(bytes.fromhex(key))
    assert signer.sign(bytes.fromhex(message)) == signature_of(bytes.fromhex(signature))
    assert verify(signer.key, bytes.fromhex(message), signer.sign(bytes.fromhex(message)))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_what_is_signed_is_verified(seed: bytes, message: bytes) -> None:
    signer = Signer(seed)

    assert verify(signer.key, message, signer.sign(message))


@given(st.binary(min_size=1, max_size=60), st.integers(0, 2**16), st.integers(0, 511))
def test_one_bit_elsewhere_is_another_message_and_another_signature(message: bytes, place: int, bit: int) -> None:
    signature = SIGNER.sign(message)
    place %= 8 * len(message)
    other = (int.from_bytes(message, "big") ^ (1 << place)).to_bytes(len(message), "big")
    raw = bytes(Signature.from_string(signature))
    bent = (int.from_bytes(raw, "big") ^ (1 << bit)).to_bytes(64, "big")

    assert not verify(SIGNER.key, other, signature)
    assert not verify(SIGNER.key, message, signature_of(bent))
    assert not verify(Signer(b"x" * 32).key, message, signature)


@given(texts(100), st.binary(max_size=8), texts(100))
def test_any_text_is_answered(key: str, message: bytes, signature: str) -> None:
    assert not verify(key, message, signature)
    assert not verify(SIGNER.key, message, signature)
    assert not verify(key, message, SIGNER.sign(message))


@pytest.mark.parametrize("key", ["", "1", "1" * 31, "1" * 33, "1" * 44, "z" * 44, "0" * 32, " " + SIGNER.key, "é" * 40])
def test_what_is_no_key_has_signed_nothing(key: str) -> None:
    assert not verify(key, b"", SIGNER.sign(b""))


@pytest.mark.parametrize("raw", SMALL_ORDER)
def test_a_key_of_small_order_has_signed_nothing(raw: bytes) -> None:
    for commitment, message in product(SMALL_ORDER, (b"", b"a", b"b", b"c", b"d", b"e", b"f", b"g")):
        assert not verify(key_of(raw), message, signature_of(commitment + bytes(32)))


def test_a_signature_has_no_second_spelling() -> None:
    raw = bytes(Signature.from_string(SIGNER.sign(b"pay")))
    scalar = int.from_bytes(raw[32:], "little")
    again = raw[:32] + (scalar + ORDER).to_bytes(32, "little")

    assert verify(SIGNER.key, b"pay", signature_of(raw))
    assert not verify(SIGNER.key, b"pay", signature_of(again))


@pytest.mark.parametrize("seed", [b"", b"1" * 31, b"1" * 33, b"1" * 64])
def test_a_seed_has_32_bytes(seed: bytes) -> None:
    with pytest.raises(ValueError, match=f"seed of {len(seed)} bytes: expected 32"):
        Signer(seed)


def test_a_signer_shows_its_public_key_alone() -> None:
    assert repr(SIGNER) == f"Signer({SIGNER.key})"
