"""The ``Authorization`` header for one registry: basic, or tokens fetched, kept and renewed.

::

    request ──401 + challenge──> Basic:  the credential itself
                                 Bearer: realm ──(credential, scopes)──> token, good for expires_in seconds

Nothing is sent before the registry asked for it. Credentials go to the registry itself and to the token server that
it names, unless that is reached by plain HTTP or at a private address and the user did not name it.
Sources: distribution «token authentication», docker «oauth2 token»; Docker Hub's tokens live 300 s, so long jobs
outlive them and must renew.
"""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from accel.errors import AuthError, RegistryError
from accel.registry.attempts import Attempts
from accel.registry.challenge import Challenge, Scopes, covers, merge, parse_challenges, parse_scopes
from accel.registry.credentials import Credential
from accel.registry.errors import parse_json, refusal
from accel.registry.response import Response
from accel.registry.transport import Body, Transport
from accel.registry.urls import Origin, is_private, join, with_query

_CLIENT_ID = "accel"
_DEFAULT_LIFE_S = 60.0  # distribution «token authentication»: expires_in is optional and then 60
_MARGIN_S = 10.0  # renewed this long before the end, or at 4/5 of a short life
_TOKEN_DOCUMENT_BYTES = 1 << 20
_TOKEN_CHARS = 64 << 10
_MAX_TOKENS = 256
_MAX_SCOPES = 32


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    scopes: Scopes
    good_until: float  # by options.clock

    @property
    def header(self) -> str:
        return f"Bearer {self.value}"


@dataclass(frozen=True, slots=True)
class _Realm:
    """Where tokens come from."""

    url: str
    service: str


class Authenticator:
    """Answers the challenges of one registry. ``host`` is the name that credentials are filed under."""

    def __init__(self, host: str, origin: Origin, transport: Transport) -> None:
        self._host = host
        self._origin = origin
        self._transport = transport
        self._options = transport.options
        self._lock = (
            threading.RLock()
        )  # also held while a token is fetched: one fetch serves all waiting threads
        self._realm: _Realm | None = None
        self._basic: dict[str, str] = {}  # header by repository
        self._more: dict[Scopes, Scopes] = {}  # what the registry asked for beyond what we thought
        self._tokens: dict[tuple[Credential | None, Scopes], _Token] = {}

    def header(self, repository: str, scopes: Scopes) -> str | None:
        """The header to send with a request that needs ``scopes``; None while the registry has not asked for any."""
        with self._lock:
            if self._realm is not None:
                return self._token(self._realm, repository, scopes).header
            return self._basic.get(repository)

    def challenged(self, response: Response, repository: str, scopes: Scopes, sent: str | None) -> None:
        """Prepare a better header after ``response`` (401) to a request with the header ``sent``.

        Raises AuthError where there is no other to offer.
        """
        refused = refusal(response.what, 401, response.headers, response.error_body())
        challenges = parse_challenges(response.header_values("WWW-Authenticate"))
        bearer = next((c for c in challenges if c.scheme == "bearer" and c.parameters.get("realm")), None)
        with self._lock:
            if bearer is not None:
                self._answer_bearer(bearer, repository, scopes, sent, refused)
            elif any(c.scheme == "basic" for c in challenges):
                self._answer_basic(repository, sent, refused)
            else:
                raise refused

    def _answer_basic(self, repository: str, sent: str | None, refused: Exception) -> None:
        credential = self._credential(repository)
        if credential is None or not (credential.username or credential.password):
            raise refused
        # asked again each time: a helper may hand out short-lived passwords
        self._realm = None
        self._basic[repository] = credential.basic()
        if sent == self._basic[repository]:
            raise refused

    def _answer_bearer(
        self, challenge: Challenge, repository: str, scopes: Scopes, sent: str | None, refused: Exception
    ) -> None:
        url = join(str(self._origin), challenge.parameters["realm"])
        realm = _Realm(url, challenge.parameters.get("service", ""))
        self._check_realm(Origin.of(url))
        if realm != self._realm:
            self._realm = realm
            self._tokens.clear()
        asked = parse_scopes(challenge.parameters.get("scope", ""))
        known = self._more.get(scopes, ())
        if not covers(merge(known, scopes), asked):
            if len(self._more) >= _MAX_TOKENS:
                self._more.clear()
            self._more[scopes] = merge(asked, known)[:_MAX_SCOPES]
        for key in [k for k, token in self._tokens.items() if token.header == sent]:
            del self._tokens[key]
        if self._token(realm, repository, scopes).header == sent:
            raise refused

    def _check_realm(self, realm: Origin) -> None:
        """AuthError for a token server that must not see our credentials."""
        own = realm.host == self._origin.host
        plain = realm.scheme == "http" and not (own and self._origin.scheme == "http")
        if plain and not self._transport.allows_plain(realm):
            raise AuthError(
                f"{self._host} wants credentials sent to {realm} by plain HTTP; name that host to allow it"
            )
        if not own and is_private(realm.host) and self._options.host(realm.name) is None:
            raise AuthError(
                f"{self._host} wants credentials sent to the private address {realm}; name it to allow it"
            )

    def _credential(self, repository: str) -> Credential | None:
        return self._options.credentials.credential_for(self._host, repository)

    def _token(self, realm: _Realm, repository: str, scopes: Scopes) -> _Token:
        """A token that serves ``scopes``, kept or new."""
        wanted = merge(self._more.get(scopes, ()), scopes)
        now = self._options.clock()
        for key in [k for k, token in self._tokens.items() if token.good_until <= now]:
            del self._tokens[key]
        for (_, have), token in self._tokens.items():
            if covers(have, wanted):
                return token
        credential = self._credential(repository)
        token = self._fetch(realm, credential, wanted)
        if len(self._tokens) >= _MAX_TOKENS:
            self._tokens.clear()
        self._tokens[(credential, wanted)] = token
        return token

    def _fetch(self, realm: _Realm, credential: Credential | None, scopes: Scopes) -> _Token:
        if credential is not None and credential.registry_token:
            return _Token(credential.registry_token, scopes, math.inf)
        what = f"token for {self._host}"
        attempts = Attempts(self._options)
        while True:
            try:
                with self._ask(realm, credential, scopes, what) as response:
                    if response.status != 200:
                        raise refusal(what, response.status, response.headers, response.error_body())
                    return self._parse(response.document(_TOKEN_DOCUMENT_BYTES), scopes, what)
            except RegistryError as error:
                attempts.failed(error)

    def _ask(self, realm: _Realm, credential: Credential | None, scopes: Scopes, what: str) -> Response:
        """The token server's answer: OAuth2 for a refresh token, a GET for everyone else."""
        if credential is not None and credential.identity_token:
            form = {
                "grant_type": "refresh_token",
                "service": realm.service,
                "client_id": _CLIENT_ID,
                "scope": " ".join(map(str, scopes)),
                "refresh_token": credential.identity_token,
            }
            response = self._transport.request(
                "POST",
                realm.url,
                what=what,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                body=Body.of(urlencode(form).encode("ascii")),
                follow=False,  # the body is a secret
            )
            if response.status not in (404, 405):
                return response
            response.discard()
            credential = Credential(credential.username, credential.password or credential.identity_token)
        query = [("service", realm.service)] if realm.service else []
        query += [("scope", str(scope)) for scope in scopes]
        headers = {}
        if credential is not None and (credential.username or credential.password):
            query.append(("account", credential.username))
            headers["Authorization"] = credential.basic()
        url = with_query(realm.url, urlencode(query)) if query else realm.url
        return self._transport.request("GET", url, what=what, headers=headers)

    def _parse(self, raw: bytes, scopes: Scopes, what: str) -> _Token:
        value: Mapping[str, Any] = parse_json(raw, what)
        text = (value.get("token") or value.get("access_token")) if isinstance(value, dict) else None
        if (
            not isinstance(text, str)
            or not text.isascii()
            or not text.isprintable()
            or len(text) > _TOKEN_CHARS
        ):
            raise AuthError(f"{what}: the token server's answer holds no token")
        life = value.get("expires_in")
        if isinstance(life, bool) or not isinstance(life, int | float) or not 0 < life < 1e9:
            life = _DEFAULT_LIFE_S
        # by our own clock, from now: issued_at is by someone else's
        return _Token(text, scopes, self._options.clock() + max(life * 0.8, life - _MARGIN_S))
