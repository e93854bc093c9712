"""Who may see the pages: the token, the host, the method, the headers."""

import pytest

PAGES = ["/", "/search?q=i", "/item?id=i1", "/user?id=u1", "/knob", "/drift", "/explore.css", "/explore.js", "/nothing"]


@pytest.fixture(scope="module")
def outside(golden_fit, visit):
    return visit(golden_fit, inside=False, prepared=False)


@pytest.fixture(scope="module")
def inside(golden_fit, visit):
    return visit(golden_fit, prepared=False)


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("given", ["", "token=", "token=x", "token=%E4%FF", "token=x&token=y"])
def test_nothing_is_seen_without_the_token(outside, path, given):
    outside.cookies.clear()
    answer = outside.get(f"{path}{'&' if '?' in path else '?'}{given}", follow_redirects=False)
    assert answer.status_code == 403
    assert "i1" not in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("cookie", ["", "x", "\u00e4"])
def test_a_wrong_cookie_is_refused(outside, cookie):
    headers = {"cookie": f"{outside.access.cookie}={cookie}".encode()}
    assert outside.get("/", headers=headers).status_code == 403


def test_the_token_moves_into_a_cookie(outside):
    outside.cookies.clear()
    answer = outside.get(f"/item?id=i1&token={outside.access.token}", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/item?id=i1"  # the token is gone from the address
    said = answer.headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=lax" in said
    assert outside.get("/").status_code == 200
    outside.cookies.clear()


def test_the_redirect_stays_here(outside):
    answer = outside.get(f"http://127.0.0.1:8000//evil.example/?token={outside.access.token}", follow_redirects=False)
    assert answer.headers["location"] == "/evil.example/"
    outside.cookies.clear()


def test_tokens_differ_and_are_long(golden_fit, visit):
    tokens = {visit(golden_fit, inside=False, prepared=False).access.token for _ in range(3)}
    assert len(tokens) == 3
    assert all(len(token) >= 43 for token in tokens)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1", "127.0.0.1:8001", "0.0.0.0:8000", ""]
)
def test_another_host_is_refused(inside, host):
    assert inside.get("/", headers={"host": host}).status_code == 400


def test_localhost_is_this_host(outside):
    address = outside.access.address.replace("127.0.0.1", "localhost")
    assert outside.get(address, headers={"host": "localhost:8000"}, follow_redirects=False).status_code == 303


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_pages_are_only_read(inside, method):
    answer = inside.request(method, "/")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_has_its_headers(inside, path):
    found = inside.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in found["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {*policy.values()} == {"'none'", "'self'", "data:"}  # no other host, and nothing inline
    assert found["x-content-type-options"] == "nosniff"
    assert found["referrer-policy"] == "no-referrer"
    assert found["cache-control"] == "no-store"


def test_refusals_have_them_too(outside):
    outside.cookies.clear()
    assert outside.get("/").headers["cache-control"] == "no-store"
