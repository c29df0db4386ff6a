"""A token server for the real docker-registry (distribution «token authentication»): RS256 JWTs with an x5c header."""

import base64
import json
import secrets
import ssl
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from support.registry_server import Answer, BodySource, LoopbackServer, Request
from support.registry_tls import Identity, certificate_authority

LEEWAY_S = 60  # distribution 2.8 takes a token so long after its end (registry/auth/token/token.go)


class TokenServer:
    """Serves tokens at ``url``; ``root_pem`` is the registry's rootcertbundle.

    ``life_s`` is the true life of the tokens, ``told_life_s`` what the answer says. A negative life uses up some of the
    registry's leeway: ``life_s = 2 - LEEWAY_S`` makes tokens that are refused after two seconds.
    """

    issuer = "test-issuer"
    service = "test-registry"

    def __init__(self, users: Mapping[str, str], *, tls: ssl.SSLContext | None = None) -> None:
        self.users = users
        self.life_s = 300
        self.told_life_s: int | None = 300
        self.requests: list[Request] = []
        self._identity: Identity = certificate_authority("token signer")
        self.root_pem = self._identity.certificate_pem
        self._tls = tls

    def __enter__(self) -> Self:
        self._server = LoopbackServer("tokens", self._respond, self.requests, self._tls)
        self.url = f"{self._server.url}/token"
        self.host = self._server.host
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    def _respond(self, request: Request, source: BodySource) -> Answer:
        request.body = source.read()
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        user = ""
        if scheme == "Basic":
            user, _, password = base64.b64decode(value).decode().partition(":")
            if self.users.get(user) != password:
                return Answer(401, {}, b'{"details": "incorrect username or password"}')
        scopes = " ".join(parse_qs(request.target.partition("?")[2]).get("scope", [])).split()
        body: dict[str, Any] = {"token": self.issue(user, scopes)}
        if self.told_life_s is not None:
            body["expires_in"] = self.told_life_s
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def issue(self, user: str, scopes: list[str]) -> str:
        """A signed token: everything asked for to a user, nothing to strangers."""
        now = int(time.time())
        access = []
        for scope in scopes if user else []:
            resource, _, actions = scope.rpartition(":")
            kind, _, name = resource.partition(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        claims = {
            "iss": self.issuer,
            "sub": user,
            "aud": self.service,
            "exp": now + self.life_s,
            "nbf": now - 600,
            "iat": now - 600,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        header = {
            "typ": "JWT",
            "alg": "RS256",
            "x5c": [base64.b64encode(self._identity.certificate_der).decode()],
        }
        signed = f"{_part(header)}.{_part(claims)}".encode()
        signature = self._identity.key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        return f"{signed.decode()}.{_base64(signature)}"


def _part(value: Any) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
