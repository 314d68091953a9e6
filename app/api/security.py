"""Headers that keep a browser from doing more with an answer than it was meant for."""

from __future__ import annotations

Headers = tuple[tuple[bytes, bytes], ...]

_EVERY: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    # Pages of other sites may neither show nor embed it. What CORS lets in is asked for in another way.
    (b"cross-origin-resource-policy", b"same-origin"),
)
_PAGE: Headers = (
    *_EVERY,
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),  # what frame-ancestors says, for browsers that do not know it
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
# Scripts and styles from this service's own files alone; none inline, none from strings.
_OWN = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
)


def _policy(value: str) -> tuple[bytes, bytes]:
    return b"content-security-policy", value.encode("ascii")


_ANSWER: Headers = (*_EVERY, _policy("default-src 'none'; frame-ancestors 'none'"))
_PAGES: dict[str, Headers] = {
    # blob: is the preview of a chosen picture. The page makes no markup from strings, and so may be forbidden to.
    "/": (*_PAGE, _policy(_OWN + "img-src 'self' blob:; require-trusted-types-for 'script'; trusted-types 'none'")),
    # Swagger UI's style sheet has its icons in itself.
    "/docs": (*_PAGE, _policy(_OWN + "img-src 'self' data:")),
}


def headers_for(path: str) -> Headers:
    """The headers of whatever answers this path."""
    return _PAGES.get(path, _ANSWER)
