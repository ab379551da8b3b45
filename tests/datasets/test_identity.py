"""Identity: the same facts give the same name, any other fact another one."""

import hashlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import UsageError
from datasets.identity import batch_key, canonical_json, check_digest, check_tenant, digest_bytes, fingerprint

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_canonical_json_is_sorted_and_has_one_spelling_for_a_number() -> None:
    assert (
        canonical_json({"b": 2.0, "a": [Fraction(24000, 1001), None, True]}) == '{"a":["24000/1001",null,true],"b":2}'
    )


def test_fingerprint_is_the_sha256_of_the_canonical_json() -> None:
    assert fingerprint({"stage": "x"}) == hashlib.sha256(b'{"stage":"x"}').hexdigest()


@given(st.dictionaries(st.text(), PLAIN, min_size=1, max_size=6))
def test_order_of_keys_does_not_matter(facts: dict[str, object]) -> None:
    assert fingerprint(facts) == fingerprint(dict(reversed(list(facts.items()))))


@given(st.dictionaries(st.text(), st.integers(), min_size=1, max_size=6))
def test_every_value_matters(facts: dict[str, int]) -> None:
    key = next(iter(facts))
    assert fingerprint(facts) != fingerprint({**facts, key: facts[key] + 1})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", object(), {1: "a"}])
def test_values_without_a_canonical_form_are_refused(value: object) -> None:
    with pytest.raises(UsageError):
        canonical_json({"value": value})


@given(st.lists(st.text(), max_size=8), st.randoms())
def test_batch_key_does_not_depend_on_the_order_of_its_items(names: list[str], random: object) -> None:
    digests = [digest_bytes(name.encode()) for name in names]
    shuffled = list(digests)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert batch_key(digests) == batch_key(shuffled)


@pytest.mark.parametrize("name", ["", "A", "-a", "_a", "a/b", "..", "a" * 64, "a b", "ä", "a\n"])
def test_bad_tenant_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_tenant(name)


@pytest.mark.parametrize("name", ["a", "0", "shop-1", "shop_1", "a" * 63])
def test_good_tenant_names_pass(name: str) -> None:
    assert check_tenant(name) == name


@pytest.mark.parametrize("value", ["", "../x", "A" * 64, "g" * 64, "0" * 63, "0" * 64 + "\n"])
def test_only_digests_become_paths(value: str) -> None:
    with pytest.raises(UsageError):
        check_digest(value)
