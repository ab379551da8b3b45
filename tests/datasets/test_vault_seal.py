"""What is sealed opens under its own key, tenant, name and version, unchanged, and under nothing else."""

import base64
import pickle
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from datasets.vault_errors import SecretUnreadableError
from datasets.vault_keys import MasterKey
from datasets.vault_seal import Address, Sealed, seal, unseal
from tests.datasets.vaults import KEY, OTHER_KEY

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
ADDRESSES = st.builds(Address, tenant=NAMES, name=NAMES, version=st.integers(1, 10**6))
VALUES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=200)
FACTS = {"created_at": "2026-05-04T12:00:00+00:00", "expires_at": None, "grace_s": 86400}
ADDRESS = Address("anna", "api", 3)
VALUE = "correct horse battery"


def refusal(sealed: Sealed, address: Address = ADDRESS, key: MasterKey = KEY) -> SecretUnreadableError:
    with pytest.raises(SecretUnreadableError) as caught:
        unseal(sealed, address, key)
    error = caught.value
    assert (error.code, error.__cause__) == ("secret_unreadable", None)
    assert set(error.facts) == {"name", "version"}
    assert VALUE[:7] not in f"{error.message}{error.facts}"
    return error


@given(address=ADDRESSES, value=VALUES)
def test_what_was_sealed_comes_back(address: Address, value: str) -> None:
    sealed = seal(value, address, FACTS, KEY)
    assert unseal(sealed, address, KEY) == value
    assert value.encode() not in base64.b64decode(sealed.ciphertext) or len(value) < 3


@given(one=ADDRESSES, other=ADDRESSES)
def test_it_opens_for_no_other_tenant_name_or_version(one: Address, other: Address) -> None:
    assume(one != other)
    refusal(seal(VALUE, one, FACTS, KEY), other)


@pytest.mark.parametrize("change", [{"tenant": "bert"}, {"name": "apis"}, {"version": 2}])
def test_each_part_of_the_address_is_bound(change: dict[str, Any]) -> None:
    refusal(seal(VALUE, ADDRESS, FACTS, KEY), replace(ADDRESS, **change))


@given(st.data())
@settings(max_examples=100)
def test_any_flipped_bit_is_refused(data: st.DataObject) -> None:
    sealed = seal(VALUE, ADDRESS, FACTS, KEY)
    field = data.draw(st.sampled_from(["nonce", "ciphertext"]))
    stored = bytearray(getattr(sealed, field).encode())
    bit = data.draw(st.integers(0, len(stored) * 8 - 1))
    stored[bit // 8] ^= 1 << bit % 8
    changed = stored.decode("latin-1")
    refusal(replace(sealed, nonce=changed) if field == "nonce" else replace(sealed, ciphertext=changed))


def test_every_flipped_bit_of_the_ciphertext_is_refused() -> None:
    sealed = seal(VALUE, ADDRESS, FACTS, KEY)
    data = base64.b64decode(sealed.ciphertext)
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        refusal(replace(sealed, ciphertext=base64.b64encode(changed).decode()))


def test_a_second_spelling_of_the_same_bytes_is_refused() -> None:
    """The last character before the padding carries bits that decoders ignore."""
    sealed = seal("12345678", ADDRESS, FACTS, KEY)  # 8 + 16 bytes tag, no padding; the tag's end is cut to get some
    with_padding = next(seal("x" * length, ADDRESS, FACTS, KEY) for length in range(8, 11) if (length + 16) % 3 == 1)
    text = with_padding.ciphertext
    assert text.endswith("==")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".index(text[-3])
    other = text[:-3] + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[last ^ 1] + "=="
    assert base64.b64decode(other) == base64.b64decode(text)
    refusal(replace(with_padding, ciphertext=other))
    assert unseal(sealed, ADDRESS, KEY) == "12345678"


@given(st.sampled_from(sorted(FACTS)), st.one_of(st.none(), st.integers(), st.text(max_size=5)))
def test_dates_in_the_clear_can_not_be_changed(name: str, value: object) -> None:
    assume(FACTS[name] != value)
    sealed = seal(VALUE, ADDRESS, FACTS, KEY)
    refusal(replace(sealed, label={**sealed.label, name: value}))


def test_another_master_key_is_refused_and_named() -> None:
    sealed = seal(VALUE, ADDRESS, FACTS, KEY)
    assert OTHER_KEY.id in refusal(sealed, key=OTHER_KEY).message
    relabelled = replace(sealed, label={**sealed.label, "key_id": OTHER_KEY.id})
    refusal(relabelled, key=OTHER_KEY)


@pytest.mark.parametrize("rubbish", ["", "?", "AAAA", "é"])
def test_rubbish_is_refused(rubbish: str) -> None:
    sealed = seal(VALUE, ADDRESS, FACTS, KEY)
    refusal(replace(sealed, ciphertext=rubbish))
    refusal(replace(sealed, nonce=rubbish))
    refusal(replace(sealed, label={"created_at": 1.5, "key_id": float("nan")}))


def test_nonces_are_96_bits_and_never_the_same() -> None:
    nonces = [base64.b64decode(seal(VALUE, ADDRESS, FACTS, KEY).nonce) for _ in range(500)]
    assert {len(nonce) for nonce in nonces} == {12}
    assert len(set(nonces)) == 500


def test_the_cipher_is_aes_256_gcm_under_the_tenants_key() -> None:
    """Opened by hand, with the associated data spelled out."""
    sealed = seal(VALUE, ADDRESS, {"grace_s": 5}, KEY)
    bound = (
        '{"format":"stillmotion secret 1","label":{"grace_s":5,"key_id":"%s"},"name":"api","tenant":"anna","version":3}'
    )
    nonce, ciphertext = base64.b64decode(sealed.nonce), base64.b64decode(sealed.ciphertext)
    opened = AESGCM(KEY.of_tenant("anna")).decrypt(nonce, ciphertext, (bound % KEY.id).encode())
    assert opened == VALUE.encode()


def test_tenants_have_keys_of_their_own() -> None:
    """HKDF-SHA256 worked out with HMAC alone, RFC 5869: one block of output is enough."""
    import hashlib
    import hmac

    extracted = hmac.digest(b"stillmotion vault 1", bytes(range(32)), hashlib.sha256)
    expected = hmac.digest(extracted, b"tenant:anna\x01", hashlib.sha256)
    assert KEY.of_tenant("anna") == expected
    assert len({KEY.of_tenant(tenant) for tenant in ("anna", "bert", "anna-b")} | {OTHER_KEY.of_tenant("anna")}) == 4


def test_a_master_key_is_not_shown_and_does_not_travel() -> None:
    assert repr(KEY) == f"<master key {KEY.id}>"
    assert bytes(range(8)).hex() not in repr(KEY)
    with pytest.raises(TypeError):
        pickle.dumps(KEY)
