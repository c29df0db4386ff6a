"""Who may use the API: bearer tokens, compared in constant time."""

import hmac
from typing import Literal

from fastapi import Depends, HTTPException, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from accel.service.settings import ApiSettings

_bearer = HTTPBearer(auto_error=False, description="A token of the configuration's api.tokens.")
_given = Security(_bearer)

Scope = Literal["read", "admin"]


class Gate:
    """Lets requests pass that show a token. ``read`` and ``admin`` are dependencies for routes."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings

        def read(given: HTTPAuthorizationCredentials | None = _given) -> None:
            self.scope(given)

        def admin(given: HTTPAuthorizationCredentials | None = _given) -> None:
            if self.scope(given) != "admin":
                raise HTTPException(403, "this token may only read")

        self.read = [Depends(read)]
        self.admin = [Depends(admin)]

    def scope(self, given: HTTPAuthorizationCredentials | None) -> Scope:
        """What a request may do. Raises 401 for none or a wrong token, without saying which."""
        if self._settings.auth == "none":
            return "admin"
        shown = given.credentials.encode() if given is not None else b""
        found: Scope | None = None
        for token in self._settings.tokens:  # all of them, whichever it is
            if hmac.compare_digest(shown, token.token.get_secret_value().encode()):
                found = token.scope
        if found is None:
            raise HTTPException(401, "no valid token", headers={"WWW-Authenticate": "Bearer"})
        return found
