"""A small OpenID provider over real HTTP with real signatures, which can be told to misbehave."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from cxgauge.dashboards.server import HttpServer

CLIENT, SECRET = "cxgauge", "s3cret"


@dataclass
class Provider:
    """What it says next; tests change it.

    Attributes:
        clock: Seconds since 1970 UTC.
        person: Claims of who signs in.
        claims: Claims of the token that are replaced; ``None`` leaves one out.
        header: The token's header.
        key: Signs tokens; by default the published one.
        metadata: Replaced parts of the metadata.
        answer: Replaced parameters of the answer to the browser.
        userinfo: What the userinfo endpoint says.
        used_secrets: How clients proved who they are.
    """

    clock: Callable[[], float]
    person: dict[str, Any] = field(default_factory=lambda: {"sub": "42", "preferred_username": "Li.Wei"})
    claims: dict[str, Any] = field(default_factory=dict)
    header: dict[str, str] = field(default_factory=lambda: {"alg": "RS256"})
    published: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}))
    key: RSAKey | OctKey | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, str | None] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    used_secrets: list[str] = field(default_factory=list)
    status: int = 200

    def __post_init__(self) -> None:
        self._codes: dict[str, dict[str, str]] = {}
        routes = [
            Route("/.well-known/openid-configuration", self._metadata),
            Route("/authorize", self._authorize),
            Route("/token", self._token, methods=["POST"]),
            Route("/keys", self._keys),
            Route("/userinfo", self._userinfo),
        ]
        self.server = HttpServer(Starlette(routes=routes), "127.0.0.1", 0)
        self.server.start()
        self.issuer = self.server.url.rstrip("/")

    def _metadata(self, _request: Request) -> Response:
        found = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/keys",
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        return JSONResponse(found | self.metadata, self.status)

    def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        answer = {"code": code, "state": asked["state"]} | self.answer
        sent = urlencode({name: value for name, value in answer.items() if value is not None})
        return RedirectResponse(f"{asked['redirect_uri']}?{sent}", 302)

    async def _token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        asked = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        proven = request.headers.get("authorization") == f"Basic {basic}" or form.get("client_secret") == SECRET
        self.used_secrets.append("post" if "client_secret" in form else "basic")
        if asked is None or challenge != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        if not proven:
            return JSONResponse({"error": "invalid_client"}, 401)
        now = int(self.clock())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        claims = {name: value for name, value in (claims | self.person | self.claims).items() if value is not None}
        key = self.key or self.published
        header = self.header | ({"kid": key.kid} if key.kid else {})
        if header["alg"] == "none":
            parts = (
                base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims)
            )
            token = f"{'.'.join(parts)}."
        else:
            token = jwt.encode(header, claims, key, algorithms=["RS256", "HS256"])
        return JSONResponse({"access_token": "access", "token_type": "Bearer", "id_token": token})

    def _keys(self, _request: Request) -> Response:
        return JSONResponse({"keys": [self.published.as_dict(private=False)]})

    def _userinfo(self, request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer access"
        return JSONResponse({"sub": self.person["sub"]} | self.userinfo)
