"""A complete small registry in this process that also plays the faults of large ones.

    with FakeRegistry() as reg:
        reg.add_image("app", tag="v1", layers=[b"..."])              # content without going through HTTP
        store = RegistryStore(f"{reg.host}/app:v1", reg.options())   # plain HTTP; sleeps take no time
        reg.fail_next("GET", r"/blobs/", status=429, retry_after=1, times=2)
        ...
        assert reg.sleeps == [1, 1]
        assert [r.status for r in reg.seen("GET", "/blobs/")] == [429, 429, 200]

What it is: blobs with ranges, uploads (whole, chunked, resumed, cancelled, mounted), manifests by tag and digest with
checked parts, tags in pages, referrers; HTTP/1.1 with keep-alive, any number of threads.

Switches, as arguments or attributes to be changed at any time:

    auth            "open", "basic" or "token"; ``users`` maps names to passwords, anonymous tokens may pull if
                    ``anonymous_pull``. Tokens come from ``/token`` here and die with ``expire_tokens()``.
    identity_tokens refresh tokens taken by POST /token; None: POST there is 404
    storage         blobs are served by redirect (307) to another host with signed URLs; ``expire_signatures()``
    ranges          False: Range is ignored (200 and everything)
    referrers       "api", "none" (404), "bad" (400) or "login" (302 to a web page)
    mounts          False: mounts open an upload instead (202)
    chunk_min       sent as OCI-Chunk-Min-Length
    locations       "relative" or "absolute" upload locations; each carries a query, only the newest is good to write
    forgetful       True: asking for the state of a broken upload by its last Location loses it, as distribution 2.8
    page_size       repositories, tags and referrers per page, with Link headers
    tls             an ssl.SSLContext to serve HTTPS with

Faults: ``fail_next(method, path_pattern, …)`` arms one for the next ``times`` requests that match (patterns are
searched in path and query; "" is any method). Several are used in the order they were armed; one without any of
the following lets a request pass as it is.

    status, body, headers, retry_after    answer this; the request is not carried out
    after=True                            carry it out, then answer this (or ``drop``): the answer got lost
    drop=True                             close the connection without an answer
    take=N                                read and keep only N bytes of the request's body, then close
    cut_after=N                           the true answer, closed after N bytes of its body
    drip_s=S                              the true answer, one byte every S seconds
    edit=f                                f(answer) changes the true answer (see Answer)
    act=f                                 f() is called before anything else
"""

import base64
import json
import re
import secrets
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote

from accel.registry import CredentialSource, HostOptions, RegistryOptions
from support.registry_content import Content, Refused, Upload, digest_of
from support.registry_server import Answer, BodySource, LoopbackServer, Request

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"

_NAME = r"(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
_ROUTES = [
    ("base", re.compile(r"/v2/")),
    ("catalog", re.compile(r"/v2/_catalog")),
    ("manifest", re.compile(rf"/v2/{_NAME}/manifests/(?P<ref>[^/]+)")),
    ("uploads", re.compile(rf"/v2/{_NAME}/blobs/uploads/")),
    ("upload", re.compile(rf"/v2/{_NAME}/blobs/uploads/(?P<key>[0-9a-f]+)")),
    ("blob", re.compile(rf"/v2/{_NAME}/blobs/(?P<digest>[^/]+)")),
    ("tags", re.compile(rf"/v2/{_NAME}/tags/list")),
    ("referrers", re.compile(rf"/v2/{_NAME}/referrers/(?P<digest>[^/]+)")),
]


@dataclass
class Fault:
    """See the module's docstring."""

    method: str
    path: re.Pattern[str]
    times: int = 1
    status: int | None = None
    body: bytes = b""
    headers: dict[str, Any] = field(default_factory=dict)
    retry_after: float | str | None = None
    after: bool = False
    drop: bool = False
    take: int | None = None
    cut_after: int | None = None
    drip_s: float = 0.0
    edit: Callable[[Answer], Any] | None = None
    act: Callable[[], Any] | None = None

    def answer(self) -> Answer | None:
        """What replaces the true answer, None if nothing does."""
        headers = dict(self.headers)
        if self.retry_after is not None:
            headers["Retry-After"] = self.retry_after
        if self.drop:
            return Answer(0, drop=True)
        return Answer(self.status, headers, self.body) if self.status is not None else None


class FakeRegistry:
    """See the module's docstring. Use as a context manager."""

    def __init__(
        self,
        *,
        auth: str = "open",
        users: dict[str, str] | None = None,
        anonymous_pull: bool = False,
        storage: bool = False,
        ranges: bool = True,
        referrers: str = "api",
        mounts: bool = True,
        locations: str = "relative",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.auth = auth
        self.users = users or {"ada": "lovelace:1"}
        self.anonymous_pull = anonymous_pull
        self.identity_tokens: dict[str, str] | None = None
        self.token_life_s: int | None = 60
        self.storage = storage
        self.ranges = ranges
        self.referrers = referrers
        self.mounts = mounts
        self.locations = locations
        self.forgetful = False
        self.chunk_min: int | None = None
        self.page_size: int | None = None
        self.content = Content()
        self.requests: list[Request] = []
        self.sleeps: list[float] = []
        self._tls = tls
        self._lock = threading.RLock()
        self._faults: list[Fault] = []
        self._tokens: dict[str, set[str]] = {}
        self._signature = secrets.token_hex(8)

    def __enter__(self) -> Self:
        self._server = LoopbackServer("registry", self._respond, self.requests, self._tls)
        self._storage = LoopbackServer("storage", self._respond_storage, self.requests)
        self.host = self._server.host
        self.url = self._server.url
        self.storage_host = self._storage.host
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self._storage.close()

    # --- for tests ---------------------------------------------------------------------------------------------

    def options(self, *, credentials: CredentialSource | None = None, **changes: Any) -> RegistryOptions:
        """Options that reach this registry (and the other given hosts); waiting is noted in ``sleeps``, not done."""
        hosts: dict[str, HostOptions] = {} if self._tls else {self.host: HostOptions(plain_http=True)}
        hosts |= changes.pop("hosts", {})
        fixed: dict[str, Any] = {"sleep": self.sleeps.append, "jitter": lambda: 0.0, "hosts": hosts}
        if credentials is not None:
            fixed["credentials"] = credentials
        return RegistryOptions(**(fixed | changes))

    def fail_next(self, method: str = "", path: str = "", *, times: int = 1, **what: Any) -> None:
        """Arm a fault; see the module's docstring."""
        with self._lock:
            self._faults.append(Fault(method, re.compile(path), times, **what))

    def seen(self, method: str = "", path: str = "", server: str = "registry") -> list[Request]:
        """The requests so far that match, in their order."""
        return [
            r
            for r in list(self.requests)
            if r.server == server and method in ("", r.method) and re.search(path, unquote(r.target))
        ]

    def add_blob(self, name: str, data: bytes) -> str:
        """Store a blob and give its digest."""
        return self.content.put_blob(name, data)

    def add_manifest(
        self,
        name: str,
        manifest: bytes | dict[str, Any],
        media_type: str = OCI_MANIFEST,
        tag: str | None = None,
    ) -> str:
        """Store a manifest (bytes as they are, or JSON), whatever it names, and give its digest."""
        raw = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        return self.content.put_manifest(name, raw, media_type, tag or digest_of(raw), check=False)

    def add_image(
        self, name: str, tag: str, layers: Iterable[bytes], media_type: str = OCI_LAYER_GZIP
    ) -> str:
        """Store a plausible image of these (compressed) layers and give its manifest's digest."""
        blobs = list(layers)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": []},
                "config": {},
            }
        ).encode()
        parts = [(OCI_CONFIG, config), *((media_type, b) for b in blobs)]
        described = [{"mediaType": m, "digest": self.add_blob(name, b), "size": len(b)} for m, b in parts]
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": described[0],
            "layers": described[1:],
        }
        return self.add_manifest(name, manifest, OCI_MANIFEST, tag)

    def tags(self, name: str) -> dict[str, str]:
        """Digest by tag."""
        return dict(self.content.repository(name).tags)

    def manifest(self, name: str, ref: str) -> dict[str, Any]:
        """The parsed manifest under a tag or digest."""
        value: dict[str, Any] = json.loads(self.content.manifest(name, ref)[1].raw)
        return value

    def blobs(self, name: str) -> dict[str, bytes]:
        """Bytes by digest."""
        return dict(self.content.repository(name).blobs)

    def uploads(self, name: str) -> dict[str, Upload]:
        """Uploads that are neither finished nor cancelled."""
        return dict(self.content.repository(name).uploads)

    def lose_uploads(self, name: str) -> None:
        """Forget all open uploads."""
        self.content.repository(name).uploads.clear()

    def expire_tokens(self) -> None:
        """Refuse all tokens handed out so far."""
        self._tokens.clear()

    def expire_signatures(self) -> None:
        """Refuse all storage URLs handed out so far."""
        self._signature = secrets.token_hex(8)

    # --- HTTP ----------------------------------------------------------------------------------------------------

    def _next_fault(self, request: Request) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if (
                    fault.times > 0
                    and fault.method in ("", request.method)
                    and fault.path.search(unquote(request.target))
                ):
                    fault.times -= 1
                    return fault
        return None

    def _respond(self, request: Request, source: BodySource) -> Answer:
        return self._played(request, source, self._true_answer)

    def _respond_storage(self, request: Request, source: BodySource) -> Answer:
        return self._played(request, source, self._storage_answer)

    def _played(self, request: Request, source: BodySource, answer_of: Callable[[Request], Answer]) -> Answer:
        fault = self._next_fault(request)
        if fault is None:
            request.body = source.read()
            return answer_of(request)
        if fault.act:
            fault.act()
        replaced = fault.answer()
        if replaced is not None and not fault.after:
            return replaced
        request.body = source.read(fault.take)
        answer = answer_of(request)
        if fault.take is not None:
            return Answer(0, drop=True)
        answer.cut_after = fault.cut_after
        answer.drip_s = fault.drip_s
        if fault.edit:
            fault.edit(answer)
        return replaced or answer

    def _true_answer(self, request: Request) -> Answer:
        if request.path == "/token":
            return self._token(request)
        if request.path == "/login":
            return Answer(200, {"Content-Type": "text/html"}, b"<html>please log in</html>")
        for kind, pattern in _ROUTES:
            if match := pattern.fullmatch(unquote(request.path)):
                refused = self._authorise(request, kind, match)
                if refused is not None:
                    return refused
                try:
                    answer: Answer = getattr(self, f"_{kind}")(request, **match.groupdict())
                except Refused as error:
                    return Answer(
                        error.status, error.headers | {"Content-Type": "application/json"}, error.body()
                    )
                return answer
        return Answer(404, {"Content-Type": "text/plain"}, b"404 page not found\n")

    # --- authentication ------------------------------------------------------------------------------------------

    def _authorise(self, request: Request, kind: str, match: re.Match[str]) -> Answer | None:
        """The 401, or None for a request that may pass."""
        given = request.headers.get("Authorization", "")
        if self.auth == "open":
            return None
        if self.auth == "basic":
            if self._user(given) is not None:
                return None
            return _unauthorised('Basic realm="fake, with a comma"')
        wanted = self._scopes(request, kind, match)
        granted = self._tokens.get(given.removeprefix("Bearer "))
        if granted is not None and wanted <= granted:
            return None
        by_resource: dict[str, list[str]] = {}
        for scope in sorted(wanted):
            resource, _, action = scope.rpartition(":")
            by_resource.setdefault(resource, []).append(action)
        scope = " ".join(f"{resource}:{','.join(actions)}" for resource, actions in by_resource.items())
        error = (
            f',error="{"insufficient_scope" if granted is not None else "invalid_token"}"' if given else ""
        )
        scope = f',scope="{scope}"' if scope else ""
        return _unauthorised(f'Bearer realm="{self.url}/token",service="fake"{scope}{error}')

    @staticmethod
    def _scopes(request: Request, kind: str, match: re.Match[str]) -> set[str]:
        if kind == "base":
            return set()
        if kind == "catalog":
            return {"registry:catalog:*"}
        name = match["name"]
        actions = {"GET": ["pull"], "HEAD": ["pull"], "DELETE": ["delete"]}.get(
            request.method, ["pull", "push"]
        )
        if kind == "upload":  # distribution asks for no more to cancel than to push
            actions = ["pull", "push"]
        wanted = {f"repository:{name}:{action}" for action in actions}
        if kind == "uploads" and "from" in request.query:
            wanted.add(f"repository:{request.query['from']}:pull")
        return wanted

    def _user(self, header: str) -> str | None:
        scheme, _, value = header.partition(" ")
        if scheme != "Basic":
            return None
        user, _, password = base64.b64decode(value).decode().partition(":")
        return user if self.users.get(user) == password else None

    def _token(self, request: Request) -> Answer:
        if request.method == "POST":
            form = {k: v[0] for k, v in parse_qs(request.body.decode()).items()}
            if self.identity_tokens is None:
                return Answer(404)
            user = self.identity_tokens.get(form.get("refresh_token", ""))
            scopes = form.get("scope", "").split()
        else:
            user = self._user(request.headers.get("Authorization", ""))
            scopes = parse_qs(request.target.partition("?")[2]).get("scope", [])
        known = user is not None
        if not known and (request.method == "POST" or "Authorization" in request.headers):
            return Answer(401, {}, json.dumps({"details": "incorrect username or password"}).encode())
        granted = set()
        for scope in " ".join(scopes).split():
            resource, _, actions = scope.rpartition(":")
            allowed = {"pull", "push", "delete", "*"} if known else {"pull"}
            if known or self.anonymous_pull:
                granted |= {f"{resource}:{a}" for a in actions.split(",") if a in allowed}
        token = f"tok-{secrets.token_hex(12)}"
        self._tokens[token] = granted
        body: dict[str, Any] = {"token": token} if request.method == "GET" else {"access_token": token}
        if self.token_life_s is not None:
            body["expires_in"] = self.token_life_s
        return _json(200, body)

    # --- content -------------------------------------------------------------------------------------------------

    def _base(self, request: Request) -> Answer:
        return _json(200, {})

    def _manifest(self, request: Request, name: str, ref: str) -> Answer:
        if request.method == "PUT":
            media_type = request.headers.get("Content-Type", "")
            digest = self.content.put_manifest(name, request.body, media_type, ref)
            headers = {"Docker-Content-Digest": digest, "Location": f"/v2/{name}/manifests/{digest}"}
            subject = json.loads(request.body).get("subject")
            if subject and self.referrers == "api":
                headers["OCI-Subject"] = subject["digest"]
            return Answer(201, headers)
        if request.method == "DELETE":
            digest, _ = self.content.manifest(name, ref)
            repository = self.content.repository(name)
            with self.content.lock:
                if ":" in ref:
                    del repository.manifests[digest]
                repository.tags = {t: d for t, d in repository.tags.items() if t != ref and (d != ref)}
            return Answer(202)
        digest, stored = self.content.manifest(name, ref)
        accept = request.headers.get("Accept", "")
        if stored.media_type not in accept and accept != "":
            raise Refused(404, "MANIFEST_UNKNOWN", "not acceptable")  # as distribution 2.8 does
        return Answer(200, {"Content-Type": stored.media_type, "Docker-Content-Digest": digest}, stored.raw)

    def _blob(self, request: Request, name: str, digest: str) -> Answer:
        data = self.content.repository(name).blobs.get(digest)
        if data is None:
            raise Refused(404, "BLOB_UNKNOWN", digest)
        if self.storage and request.method == "GET":
            url = f"{self._storage.url}/{name}/{digest}?X-Amz-Signature={self._signature}"
            return Answer(307, {"Location": url, "Content-Type": "text/html"}, b"<a>Temporary Redirect</a>")
        return self._ranged(request, data, digest)

    def _storage_answer(self, request: Request) -> Answer:
        if "Authorization" in request.headers:
            return Answer(
                400, {"Content-Type": "application/xml"}, b"<Error><Code>InvalidArgument</Code></Error>"
            )
        if request.query.get("X-Amz-Signature") != self._signature:
            return Answer(
                403, {"Content-Type": "application/xml"}, b"<Error><Code>AccessDenied</Code></Error>"
            )
        name, _, digest = unquote(request.path)[1:].rpartition("/")
        return self._ranged(request, self.content.repository(name).blobs[digest], digest)

    def _ranged(self, request: Request, data: bytes, digest: str) -> Answer:
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if not asked or not self.ranges:
            return Answer(200, headers, data)
        start, end = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
        if start >= len(data):
            # as distribution 2.8: the length of the whole, a short text, and the end of the connection
            lying = {"Content-Length": str(len(data)), "Content-Range": f"bytes */{len(data)}"}
            return Answer(416, lying, b"invalid range: failed to overlap\n", cut_after=33)
        headers |= {"Content-Range": f"bytes {start}-{end}/{len(data)}"}
        return Answer(206, headers, data[start : end + 1])

    def _catalog(self, request: Request) -> Answer:
        names = sorted(self.content.repositories)
        return self._page(request, "/v2/_catalog", names, lambda page: {"repositories": page})

    def _tags(self, request: Request, name: str) -> Answer:
        tags = sorted(self.tags(name))
        if name not in self.content.repositories:
            raise Refused(404, "NAME_UNKNOWN")
        return self._page(request, f"/v2/{name}/tags/list", tags, lambda page: {"name": name, "tags": page})

    def _referrers(self, request: Request, name: str, digest: str) -> Answer:
        if self.referrers == "none":
            return Answer(404, {"Content-Type": "text/plain"}, b"404 page not found\n")
        if self.referrers == "bad":
            raise Refused(400, "UNSUPPORTED")
        if self.referrers == "login":
            return Answer(302, {"Location": f"{self.url}/login"})
        found = self.content.referrers(name, digest)
        answer = self._page(
            request,
            f"/v2/{name}/referrers/{digest}",
            found,
            lambda page: {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": page},
        )
        answer.headers["Content-Type"] = OCI_INDEX
        return answer

    def _page(
        self, request: Request, path: str, items: list[Any], body: Callable[[list[Any]], Any]
    ) -> Answer:
        if self.page_size is None:
            return _json(200, body(items))
        start = int(request.query.get("next", 0))
        end = start + self.page_size
        answer = _json(200, body(items[start:end]))
        if end < len(items):
            answer.headers["Link"] = f'<{path}?next={end}>; rel="next"'
        return answer

    # --- uploads -------------------------------------------------------------------------------------------------

    def _uploads(self, request: Request, name: str) -> Answer:
        if request.method != "POST":
            return Answer(405)
        mount, source = request.query.get("mount"), request.query.get("from")
        if mount and source and self.mounts:
            data = self.content.repository(source).blobs.get(mount)
            if data is not None:
                self.content.put_blob(name, data, mount)
                return Answer(201, {"Location": f"/v2/{name}/blobs/{mount}", "Docker-Content-Digest": mount})
        key, upload = self.content.begin(name)
        return self._session(name, key, upload, 202)

    def _upload(self, request: Request, name: str, key: str) -> Answer:
        strict = self.forgetful or request.method in ("PATCH", "PUT")
        upload = self.content.upload(name, key, int(request.query.get("_state", -1)) if strict else None)
        with self.content.lock:
            if request.method == "PATCH":
                start = request.headers.get("Content-Range", "").partition("-")[0]
                if start and int(start) != len(upload.data):
                    refused = self._session(name, key, upload, 416)
                    refused.body = Refused(416, "BLOB_UPLOAD_INVALID").body()
                    return refused
                upload.data += request.body
                upload.state += 1
                return self._session(name, key, upload, 202)
            if request.method == "PUT":
                upload.data += request.body
                digest = request.query.get("digest", "")
                self.content.finish(name, key, digest)
                return Answer(
                    201, {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}
                )
            if request.method == "DELETE":
                del self.content.repository(name).uploads[key]
                return Answer(204)
            return self._session(name, key, upload, 204)

    def _session(self, name: str, key: str, upload: Upload, status: int) -> Answer:
        location = f"/v2/{name}/blobs/uploads/{key}?_state={upload.state}&x=a%2Fb"
        headers: dict[str, Any] = {
            "Location": location if self.locations == "relative" else self.url + location,
            "Range": f"0-{max(0, len(upload.data) - 1)}",
            "Docker-Upload-UUID": key,
        }
        if self.chunk_min is not None:
            headers["OCI-Chunk-Min-Length"] = self.chunk_min
        return Answer(status, headers)


def _unauthorised(challenge: str) -> Answer:
    body = json.dumps({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}).encode()
    return Answer(401, {"WWW-Authenticate": challenge, "Content-Type": "application/json"}, body)


def _json(status: int, value: Any) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(value).encode())
