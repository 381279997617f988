"""Sign-in at an OpenID Connect provider: authorization code with PKCE, state and nonce.

https://openid.net/specs/openid-connect-core-1_0.html, RFC 7636, RFC 9207. Requests and the rules of the token are
Authlib's, signatures joserfc's (both by the same people, in wide use; Authlib speaks httpx2, which this program has
anyway). What belongs to one attempt travels in a sealed cookie, so that nothing is kept for visitors who never return.
"""

from __future__ import annotations

import secrets
import ssl
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ...metrics.configuration.sign_in import OpenIdConfig, OpenIdGrant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authlib.integrations.httpx_client import OAuth2Client

__all__ = ["Attempt", "MissingOpenIdError", "OpenId", "OpenIdError", "Person", "Refusal"]

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
_ATTEMPT_SECONDS: Final = 600.0
_METADATA_SECONDS: Final = 3_600.0
_KEYS_AGAIN_SECONDS: Final = 30.0
_LEEWAY_SECONDS: Final = 60
_USED_KEPT = 10_000
_TEXT_LIMIT = 2_000


class MissingOpenIdError(ValueError):
    """The extra ``openid`` is not installed."""


class Refusal:
    """Why a sign-in is refused; what pages say about each is in pages.py."""

    STATE = "state"
    USED = "used"
    TOKEN = "token"  # noqa: S105 - a word, no secret
    ROLE = "role"
    PROVIDER = "provider"
    DISABLED = "disabled"


class OpenIdError(ValueError):
    """The sign-in is refused.

    Attributes:
        refusal: Which of :class:`Refusal`.
    """

    def __init__(self, refusal: str, message: str) -> None:
        super().__init__(" ".join(message.split()))
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one browser must bring back.

    Attributes:
        state: Ties the answer to this browser.
        nonce: Ties the token to this attempt.
        verifier: Proves to the provider that who redeems the code is who asked (PKCE).
        target: Where to go afterwards, a path of this site.
        begun_at: Seconds since 1970 UTC.
    """

    state: str
    nonce: str
    verifier: str
    target: str
    begun_at: float


@dataclass(frozen=True, slots=True)
class Person:
    """Who it is at the provider, and what that gives here."""

    issuer: str
    subject: str
    name: str
    grant: OpenIdGrant


class OpenId:
    """One provider; safe from any thread.

    Args:
        config: How to reach it.
        redirect_url: Where it sends people back to.
        clock: Seconds since 1970 UTC.

    Raises:
        MissingOpenIdError: the extra is not installed.
        ValueError: the authority's file cannot be read.
    """

    def __init__(self, config: OpenIdConfig, redirect_url: str, clock: Callable[[], float]) -> None:
        try:
            import authlib.integrations.httpx_client
            import authlib.oidc.core  # noqa: F401 - is it there?
        except ImportError:
            raise MissingOpenIdError(
                "sign_in.openid needs the extra openid; run pip install 'cxgauge[openid]'"
            ) from None
        self.config = config
        self._redirect_url, self._clock = redirect_url, clock
        self._tls = _tls(config)
        self._lock = threading.Lock()
        self._metadata: tuple[float, Mapping[str, Any]] | None = None
        self._keys: tuple[float, Mapping[str, Any]] | None = None
        self._used: OrderedDict[str, float] = OrderedDict()

    def begin(self, target: str) -> tuple[str, Attempt]:
        """Where to send the browser, and what it must bring back.

        Raises:
            OpenIdError: the provider does not answer as it should.
        """
        tokens = (secrets.token_urlsafe(32) for _ in range(2))
        attempt = Attempt(next(tokens), next(tokens), secrets.token_urlsafe(48), target, self._clock())
        endpoint = self._endpoint("authorization_endpoint")
        with self._client() as client:
            url, _ = client.create_authorization_url(
                endpoint, state=attempt.state, nonce=attempt.nonce, code_verifier=attempt.verifier
            )
        return str(url), attempt

    def finish(self, attempt: Attempt | None, answer: Mapping[str, str]) -> Person:
        """Who has signed in.

        Args:
            attempt: What this browser brought back; ``None`` for nothing.
            answer: The parameters that the provider sent along.

        Raises:
            OpenIdError: it is refused; the message is for log and audit and holds no secret.
        """
        attempt = self._own_attempt(attempt, answer)
        if "error" in answer:
            raise OpenIdError(Refusal.PROVIDER, f"the provider refused: {answer['error'][:80]!r}")
        metadata = self._read_metadata()
        if answer.get("iss", self.config.issuer) != self.config.issuer or (
            metadata.get("authorization_response_iss_parameter_supported") and "iss" not in answer
        ):
            raise OpenIdError(Refusal.TOKEN, "the answer is not from the provider it should be from (iss)")
        code = answer.get("code", "")
        if not code or len(code) > _TEXT_LIMIT:
            raise OpenIdError(Refusal.PROVIDER, "the provider sent no code")
        token = self._redeem(code, attempt)
        claims = self._verified(token, attempt)
        subject = str(claims["sub"])
        values = self._claim_values(claims, token)
        grant = next((one for one in self.config.grants if one.value in values), None)
        if grant is None:
            raise OpenIdError(Refusal.ROLE, f"{self.config.claim} has no value that gives a role")
        name = claims.get(self.config.name_claim)
        return Person(self.config.issuer, subject, name if isinstance(name, str) else "", grant)

    def _own_attempt(self, attempt: Attempt | None, answer: Mapping[str, str]) -> Attempt:
        now = self._clock()
        state = answer.get("state", "")
        if attempt is None or not secrets.compare_digest(attempt.state.encode(), state.encode()):
            raise OpenIdError(Refusal.STATE, "the state is not this browser's")
        if not 0 <= now - attempt.begun_at < _ATTEMPT_SECONDS:
            raise OpenIdError(Refusal.STATE, "the sign-in took too long")
        with self._lock:
            while self._used and (
                len(self._used) >= _USED_KEPT or next(iter(self._used.values())) < now - _ATTEMPT_SECONDS
            ):
                self._used.popitem(last=False)
            if state in self._used:
                raise OpenIdError(Refusal.USED, "the state has been used")
            self._used[state] = now
        return attempt

    def _redeem(self, code: str, attempt: Attempt) -> Mapping[str, Any]:
        from authlib.common.errors import AuthlibBaseError

        try:
            with self._client() as client:
                token = client.fetch_token(
                    self._endpoint("token_endpoint"),
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=attempt.verifier,
                )
        except OpenIdError:
            raise
        except (AuthlibBaseError, ValueError) as error:  # SecretError is a ValueError
            raise OpenIdError(Refusal.PROVIDER, f"the provider refused the code: {str(error)[:200]}") from None
        if not isinstance(token, Mapping) or not isinstance(token.get("id_token"), str):
            raise OpenIdError(Refusal.TOKEN, "the provider sent no id_token")
        return token

    def _verified(self, token: Mapping[str, Any], attempt: Attempt) -> Mapping[str, Any]:
        """The claims of the token, once its signature and every claim that guards it is right."""
        from authlib.oidc.core import CodeIDToken
        from joserfc.errors import JoseError

        try:
            decoded = self._decode(token["id_token"])
            claims = CodeIDToken(
                decoded.claims,
                decoded.header,
                {
                    "iss": {"essential": True, "value": self.config.issuer},
                    "aud": {"essential": True, "value": self.config.client_id},
                    "sub": {"essential": True},
                },
                {
                    "nonce": attempt.nonce,
                    "client_id": self.config.client_id,
                    "access_token": token.get("access_token"),
                },
            )
            claims.validate(now=int(self._clock()), leeway=_LEEWAY_SECONDS)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise OpenIdError(Refusal.TOKEN, f"the id_token is refused: {str(error)[:200]}") from None
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise OpenIdError(Refusal.TOKEN, "the id_token is refused: it has no subject")
        return dict(claims)

    def _decode(self, text: str) -> Any:
        from joserfc import jwt
        from joserfc.errors import JoseError

        offered = self._read_metadata().get("id_token_signing_alg_values_supported", ["RS256"])
        allowed = [name for name in _ALGORITHMS if name in offered]
        try:
            return jwt.decode(text, self._key_set(), algorithms=allowed)
        except (JoseError, ValueError):
            if not self._forget_keys():  # the provider may have new ones
                raise
            return jwt.decode(text, self._key_set(), algorithms=allowed)

    def _key_set(self) -> Any:
        from joserfc.jwk import KeySet

        keys: Any = dict(self._read_keys())
        return KeySet.import_key_set(keys)

    def _claim_values(self, claims: Mapping[str, Any], token: Mapping[str, Any]) -> frozenset[str]:
        found = _at(claims, self.config.claim)
        if found is None and "userinfo_endpoint" in self._read_metadata() and token.get("access_token"):
            info = self._get(self._endpoint("userinfo_endpoint"), bearer=str(token["access_token"]))
            if info.get("sub") != claims["sub"]:
                raise OpenIdError(Refusal.TOKEN, "userinfo speaks of somebody else")
            found = _at(info, self.config.claim)
        values: Iterable[object] = found if isinstance(found, list) else [found]
        return frozenset(str(value) for value in values if isinstance(value, (str, int)))

    # -- the provider -------------------------------------------------------------------------------------

    def _read_metadata(self) -> Mapping[str, Any]:
        now = self._clock()
        with self._lock:
            if self._metadata is not None and now - self._metadata[0] < _METADATA_SECONDS:
                return self._metadata[1]
        found = self._get(self.config.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != self.config.issuer:
            said = str(found.get("issuer"))[:200]
            raise OpenIdError(
                Refusal.PROVIDER, f"sign_in.openid.issuer={self.config.issuer!r} calls itself {said!r}; write that"
            )
        with self._lock:
            self._metadata = now, found
        return found

    def _endpoint(self, name: str) -> str:
        address = self._read_metadata().get(name)
        scheme = urlsplit(self.config.issuer).scheme
        if not isinstance(address, str) or urlsplit(address).scheme not in ("https", scheme):
            raise OpenIdError(Refusal.PROVIDER, f"the provider names no {name} that can be used")
        return address

    def _read_keys(self) -> Mapping[str, Any]:
        now = self._clock()
        with self._lock:
            if self._keys is not None and now - self._keys[0] < _METADATA_SECONDS:
                return self._keys[1]
        found = self._get(self._endpoint("jwks_uri"))
        with self._lock:
            self._keys = now, found
        return found

    def _forget_keys(self) -> bool:
        """Let keys be read anew, unless that has just been done: wrong tokens must not make us ask without end."""
        with self._lock:
            if self._keys is None or self._clock() - self._keys[0] < _KEYS_AGAIN_SECONDS:
                return False
            self._keys = None
            return True

    def _get(self, url: str, bearer: str = "") -> Mapping[str, Any]:
        headers = {"accept": "application/json"} | ({"authorization": f"Bearer {bearer}"} if bearer else {})
        with self._client() as client:
            response = client.request("GET", url, headers=headers, withhold_token=True)
            if response.status_code != 200:  # a redirect is none of the answers a provider gives here
                raise OpenIdError(Refusal.PROVIDER, f"{url} answered {response.status_code}")
            try:
                found = response.json()
            except ValueError:
                found = None
        if not isinstance(found, dict):
            raise OpenIdError(Refusal.PROVIDER, f"{url} answered something else than a JSON object")
        return found

    @contextmanager
    def _client(self) -> Iterator[OAuth2Client]:
        import httpx2
        from authlib.integrations.httpx_client import OAuth2Client

        config = self.config
        secret = None if config.client_secret is None else config.client_secret.reveal()
        offered = self._metadata[1].get("token_endpoint_auth_methods_supported") if self._metadata else None
        posts = isinstance(offered, list) and "client_secret_basic" not in offered and "client_secret_post" in offered
        try:
            with OAuth2Client(
                config.client_id,
                secret,
                token_endpoint_auth_method="client_secret_post" if secret and posts else None,
                scope=" ".join(dict.fromkeys(("openid", *config.scopes))),
                redirect_uri=self._redirect_url,
                code_challenge_method="S256",
                timeout=config.timeout,
                verify=self._tls,
                trust_env=False,
            ) as client:
                yield client
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise OpenIdError(
                Refusal.PROVIDER, f"the provider does not answer: {type(error).__name__}: {error}"
            ) from None


def _tls(config: OpenIdConfig) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=config.authority)
    except OSError as error:
        raise ValueError(f"sign_in.openid.authority={config.authority} cannot be used: {error}") from None


def _at(claims: Mapping[str, Any], path: str) -> object:
    """A claim by its name, or by dots into mappings; a name with dots of its own comes first."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found
