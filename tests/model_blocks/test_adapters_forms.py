"""What goes over the wire in each form, what is read in replies of any kind, and declarations that do not hold."""

import base64
import json
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from datasets.errors import SettingsError
from model_blocks.adapters.generate_content import PUBLIC_ENDPOINT, generate_content
from model_blocks.adapters.generic_http import GenericHttp, generic_http
from model_blocks.adapters.images import check_image
from model_blocks.adapters.outcomes import PaidRequest, Reply
from model_blocks.adapters.reply_form import pointed, price_micro_usd
from tests.model_blocks.paid_calls import KEYED, PLAIN, REQUEST, picture
from tests.services.paid_adapters import facts, generic, google

URL = "http://127.0.0.1:1"
FACTS = {"name": "images", "version": "1", "price_micro_usd": 39_000, "price_list": "2026-01"}
FORM: dict[str, Any] = {"path": "/make", "reply": {"image": "/image"}}
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "candidates",
                        "content",
                        "parts",
                        "inlineData",
                        "data",
                        "thought",
                        "finishReason",
                        "promptFeedback",
                    ),
                    *("blockReason", "usageMetadata", "responseId", "error", "details", "retryDelay", "image", "id"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


def reply(document: Any, status: int = 200) -> Reply:
    return Reply(status, {"content-type": "application/json"}, json.dumps(document).encode())


def encoded(kind: str, size: tuple[int, int] = (6, 4)) -> bytes:
    stream = BytesIO()
    Image.new("RGB", size, (9, 8, 7)).save(stream, kind)
    return stream.getvalue()


def test_googles_form_is_as_published() -> None:
    adapter = generate_content(FACTS, model="gemini-2.5-flash-image", secret=None)
    request = PaidRequest("a cup", b"one", "image/jpeg", b"two", parameters={"imageConfig": {"aspectRatio": "4:3"}})
    wire = adapter.build(request, "order-1")
    assert wire.url == f"{PUBLIC_ENDPOINT}/v1beta/models/gemini-2.5-flash-image:generateContent"
    assert (wire.method, dict(wire.headers)) == ("POST", {"Content-Type": "application/json"})
    assert json.loads(wire.body) == {
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "a cup"},
                    {"inlineData": {"mimeType": "image/jpeg", "data": "b25l"}},
                    {"inlineData": {"mimeType": "image/png", "data": "dHdv"}},
                ],
            }
        ],
        "generationConfig": {"responseModalities": ["TEXT", "IMAGE"], "imageConfig": {"aspectRatio": "4:3"}},
    }


def test_the_image_that_is_no_thought_is_taken() -> None:
    def part(content: bytes, **more: Any) -> dict[str, Any]:
        return {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(content).decode()}, **more}

    wanted = encoded("PNG")
    parts = [part(encoded("PNG", (1, 1)), thought=True), {"text": "so:"}, part(wanted), part(picture(), thought=True)]
    read = google(URL, PLAIN).read(reply({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}))
    assert (read.content, read.fault) == (wanted, None)


@pytest.mark.parametrize(
    ("document", "fault", "detail"),
    [
        ({}, "no_image", "the reply holds no image"),
        ({"candidates": None}, "no_image", "the reply holds no image"),
        ({"candidates": [{"finishReason": "NO_IMAGE"}]}, "no_image", "the reply holds no image"),
        ({"candidates": [{"finishReason": "SPII"}]}, "blocked", "the image was withheld: SPII"),
        ({"promptFeedback": {"blockReason": "OTHER"}}, "blocked", "the prompt was blocked: OTHER"),
        ([], "reply_unreadable", "expected a JSON object"),
    ],
)
def test_replies_without_an_image_say_why(document: Any, fault: str, detail: str) -> None:
    read = google(URL, PLAIN).read(reply(document))
    assert (read.fault, read.detail) == (fault, detail)


@given(anything)
def test_no_reply_makes_an_adapter_raise(document: Any) -> None:
    for adapter in (google(URL, PLAIN), generic(URL, PLAIN), generic(URL, PLAIN, raw=True)):
        assert adapter.read(reply(document)).fault is not None
        adapter.pause_s(reply(document, 429))


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: encoded("PNG")[:30] + tail))
def test_no_bytes_make_an_adapter_raise(body: bytes) -> None:
    for adapter in (google(URL, PLAIN), generic(URL, PLAIN), generic(URL, PLAIN, raw=True)):
        assert adapter.read(Reply(200, {}, body)).fault is not None


def test_deep_nesting_is_a_fault_and_no_crash() -> None:
    assert google(URL, PLAIN).read(Reply(200, {}, b"[" * 200_000)).fault == "reply_unreadable"


@pytest.mark.parametrize(("kind", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_images_are_told_by_their_bytes(kind: str, media_type: str) -> None:
    assert check_image(encoded(kind), max_megapixels=1.0) == (media_type, None, "")


@pytest.mark.parametrize("content", [b"", b"GIF89a" + bytes(20), b"<html>", encoded("PNG")[:40], b"RIFF....WEBP"])
def test_what_is_no_image_is_told(content: bytes) -> None:
    assert check_image(content, max_megapixels=1.0)[1] == "not_an_image"


def test_a_damaged_image_is_told() -> None:
    content = bytearray(encoded("PNG", (60, 40)))
    content[content.index(b"IDAT") + 8] ^= 1
    assert check_image(bytes(content), max_megapixels=1.0)[1] == "not_an_image"


def test_images_beyond_the_limit_are_told() -> None:
    assert check_image(encoded("PNG", (101, 100)), max_megapixels=0.01)[1] == "image_too_large"
    assert check_image(encoded("PNG", (100, 100)), max_megapixels=0.01)[1] is None


def test_the_multipart_form_is_the_same_bytes_for_the_same_key() -> None:
    adapter = generic(URL, KEYED, raw=True)
    one, two, other = (adapter.build(REQUEST, key) for key in ("a", "a", "b"))
    assert one == two
    assert one.body != other.body
    assert one.headers["Idempotency-Key"] == "a"


def test_parameters_stand_where_the_settings_say() -> None:
    def body(fields: dict[str, Any]) -> Any:
        adapter = generic_http({**FACTS, "endpoint": URL}, {**FORM, "constants": {"n": 1}, "fields": fields}, None)
        return json.loads(adapter.build(PaidRequest("cup", parameters={"seed": 4}), "k").body)

    assert body({"prompt": "text"}) == {"n": 1, "seed": 4, "text": "cup"}
    assert body({"parameters": "options"}) == {"n": 1, "options": {"seed": 4}, "prompt": "cup"}


@pytest.mark.parametrize(
    ("value", "unit", "micro_usd"),
    [
        ("0.039", "usd", 39_000), ("3.9", "cents", 39_000), ("39000", "micro_usd", 39_000), ("0.0000001", "usd", 1),
        ("-1", "usd", None), ("NaN", "usd", None), ("Infinity", "usd", None), ("1e400", "usd", None),
        ("1e999999", "usd", None), ("sNaN", "usd", None), ("", "usd", None),
        (None, "usd", None), ("free", "usd", None), ("0", "usd", 0),
    ],
)  # fmt: skip
def test_prices_become_whole_micro_usd_and_are_never_rounded_down(
    value: str | None, unit: str, micro_usd: int | None
) -> None:
    assert price_micro_usd(value, unit) == micro_usd


def test_pointers_follow_their_standard() -> None:
    """Examples of RFC 6901, section 5."""
    document = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "m~n": 8}
    found = [pointed(document, pointer) for pointer in ("", "/foo/0", "/", "/a~1b", "/c%d", "/m~0n", "/foo/2", "/x/y")]
    assert found == [document, "bar", 0, 1, 2, 8, None, None]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"endpoint": "ftp://service.example"}, "endpoint: use an address that begins with http"),
        ({"endpoint": "file:///etc/passwd"}, "endpoint"),
        ({"endpoint": "http://service.example?key=x"}, "query"),
        ({"endpoint": "https://a b.example"}, "endpoint"),
        ({"price_micro_usd": 0.5}, "price_micro_usd"),
        ({"price_micro_usd": -1}, "price_micro_usd"),
        ({"honours_idempotency_keys": True}, "key_window_s"),
        ({"free_statuses": [200]}, "success is never free"),
        ({"deadline_s": 0}, "deadline_s"),
        ({"attempt_s": 500}, "attempt_s"),
        ({"prize": 1}, "prize"),
        ({"name": "../x"}, "name"),
        ({"can_look_up": True}, "can_look_up=True"),
        ({"honours_idempotency_keys": True, "key_window_s": 60}, "key_header"),
    ],
)
def test_declarations_that_do_not_hold_say_what(change: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        generic_http({**FACTS, "endpoint": URL, **change}, FORM, None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"path": "make"}, "path"),
        ({"path": "/make?x=1"}, "path"),
        ({"key_header": "Host"}, "key_header"),
        ({"key_header": "X\r\nY"}, "key_header"),
        ({"reply": {}}, "reply.image"),
        ({"reply": {"image": "image"}}, "JSON pointer"),
        ({"reply": {"body": "image", "price": "/price"}}, "price_header"),
        ({"look_up": {"path": "/all", "none_status": 404}}, "{key}"),
        ({"look_up": {"path": "/x/{key}"}}, "none_states or none_status"),
        ({"look_up": {"path": "/x/{key}", "none_status": 404}}, "can_look_up=False"),
    ],
)
def test_forms_that_do_not_hold_say_what(change: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        generic_http({**FACTS, "endpoint": URL}, {**FORM, **change}, None)


def test_a_declaration_knows_how_long_a_key_holds() -> None:
    declaration = generic(URL, KEYED, key_window_s=100.0).declaration
    assert [declaration.key_holds(age) for age in (0.0, 89.9, 90.0)] == [True, True, False]
    assert not generic(URL, PLAIN).declaration.key_holds(0.0)
    assert declaration.price_of(3) == 117_000


def test_adapters_can_travel_to_a_worker() -> None:
    import pickle

    adapter = generic_http(facts(URL, PLAIN), FORM, None)
    assert isinstance(adapter, GenericHttp)
    assert pickle.loads(pickle.dumps(adapter)) == adapter
