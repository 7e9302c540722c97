"""Forms that only this page's own visitors can send: a signed token, and a look at where the request comes from.

Airflow's session cookie is ``SameSite=Lax``, which leaves out requests from other hosts of the same site. See
`OWASP, Cross-Site Request Forgery Prevention
<https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html>`__.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from airflow.api_fastapi.auth.tokens import get_signing_key
from fastapi import HTTPException, Request, status
from itsdangerous import BadSignature, URLSafeTimedSerializer

LONGEST_SECONDS = 3600

_EXPIRED = "This form has expired or is not yours: go back, load the page again and send it once more."
_FOREIGN = "This request comes from another site, so nothing was changed."


def token_for(user_id: str) -> str:
    """What a form carries, so that it is known to be one that this user was shown."""
    return _signer().dumps(user_id)


def refuse_forged(request: Request, user_id: str, token: str) -> None:
    """Let nothing pass but a form of this page, shown to this user within the hour.

    :raises HTTPException: 403
    """
    if _is_foreign(request):
        raise HTTPException(status.HTTP_403_FORBIDDEN, _FOREIGN)
    try:
        shown_to = _signer().loads(token, max_age=LONGEST_SECONDS)
    except BadSignature:
        shown_to = None
    if shown_to != user_id:
        raise HTTPException(status.HTTP_403_FORBIDDEN, _EXPIRED)


def _is_foreign(request: Request) -> bool:
    """Whether the browser says that another site's page sent this."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site != "same-origin"
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(get_signing_key("api", "secret_key"), salt="etl-sync form")
