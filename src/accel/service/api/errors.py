"""Errors as answers: ``{"error": {"code": …, "message": …}}`` with a fitting status."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from sqlalchemy.exc import DataError, SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from accel.errors import AccelError, ConfigError, NotFoundError, ReferenceSyntaxError, RegistryError
from accel.service.protect import InUse


class ErrorDetail(BaseModel):
    code: str
    message: str


class ErrorAnswer(BaseModel):
    """What every refusal says."""

    error: ErrorDetail


_CODES = {400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed"}
_STATUS: tuple[tuple[type[AccelError], int, str], ...] = (
    (InUse, 409, "in_use"),
    (NotFoundError, 404, "not_found"),
    (ReferenceSyntaxError, 400, "bad_reference"),
    (ConfigError, 409, "not_possible"),
    (RegistryError, 502, "registry"),
    (AccelError, 502, "registry"),
)


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error answers for the description of an operation; those that all have are always there."""
    return {status: {"model": ErrorAnswer} for status in (400, 401, 403, 422, *statuses)}


def add_handlers(app: FastAPI) -> None:
    """Have errors answered like that."""

    def ours(request: Request, error: Exception) -> JSONResponse:
        status, code = next((status, code) for kind, status, code in _STATUS if isinstance(error, kind))
        return _answer(status, code, str(error))

    def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return _answer(422, "invalid", f"{where}: {first['msg']}")

    def no_text(request: Request, error: Exception) -> JSONResponse:
        """JSON can say half of a surrogate pair, which is no text anywhere else; nor does every text fit a column."""
        return _answer(422, "invalid", "a value that cannot be stored")

    def database(request: Request, error: Exception) -> JSONResponse:
        return _answer(503, "store", "the store does not answer", {"Retry-After": "1"})

    app.add_exception_handler(AccelError, ours)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(UnicodeError, no_text)
    app.add_exception_handler(OverflowError, no_text)
    app.add_exception_handler(DataError, no_text)
    app.add_exception_handler(SQLAlchemyError, database)


def refused(request: Request, error: Exception) -> JSONResponse:
    """The answer for what the framework, or one of our routes, refuses."""
    assert isinstance(error, HTTPException)
    return _answer(error.status_code, _CODES.get(error.status_code, "error"), str(error.detail), error.headers)


def _answer(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status, dict(headers or {}))
