"""A Hub of the tests' own, on loopback and in memory: what `huggingface_hub` asks for as it pushes and downloads."""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from urllib.parse import parse_qs, quote, unquote, urlsplit

import yaml


BRANCH, TAG = "refs/heads/", "refs/tags/"
LFS_SUFFIXES = (".safetensors", ".parquet", ".arrow")
DATE = "2026-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class File:
    """A file of a commit."""

    content: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def oid(self) -> str:
        """As git has it: of the content, or of the pointer that stands for it."""
        content = self.content
        if self.lfs:
            content = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(content)}\n"
            content = content.encode()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def describe(self, path: str) -> dict:
        entry = {"type": "file", "path": path, "size": len(self.content), "oid": self.oid}
        if self.lfs:
            entry["lfs"] = {"oid": self.sha256, "sha256": self.sha256, "size": len(self.content), "pointerSize": 134}
        return entry


@dataclass(frozen=True)
class Commit:
    id: str
    title: str
    parent: "Commit | None"
    files: dict[str, File]


@dataclass
class Repository:
    private: bool
    refs: dict[str, Commit]
    pull_requests: int = 0

    def find(self, revision: str) -> Commit | None:
        """The commit of a branch, a tag, a pull request or an id."""
        for name in (BRANCH + revision, TAG + revision, revision):
            if name in self.refs:
                return self.refs[name]
        for commit in self.refs.values():
            while commit is not None and commit.id != revision:
                commit = commit.parent
            if commit is not None:
                return commit
        return None


@dataclass
class Failure:
    """Requests that fail, so many times."""

    method: str
    path: str
    times: int
    status: int | None


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, code: str | None = None, **body) -> None:
        self.status, self.body = status, {"error": message, **body}
        self.headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})


@dataclass
class Hub:
    """
    A running server; leave the `with` block to end it.

    Args:
        tokens: The users that there are, by their tokens. A user writes where the namespace is the user's name.
    """

    tokens: dict[str, str]
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)  # by ("models", "user/name")
    objects: dict[str, bytes] = field(default_factory=dict)  # what LFS stores, by SHA-256
    requests: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)
    secret: str = field(default_factory=secrets.token_hex)

    def __enter__(self) -> "Hub":
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def storage(self) -> str:
        """Where LFS files are: another origin, as the client expects."""
        return f"http://localhost:{self.server.server_port}/lfs"

    def fail(self, method: str, path: str, times: int = 1, status: int | None = None) -> None:
        """Makes requests fail whose path holds the pattern `path`: cut in the middle, or with a status."""
        self.failures.append(Failure(method, path, times, status))

    def files(self, name: str, revision: str = "main", kind: str = "models") -> dict[str, bytes]:
        """What is in a repository."""
        return {path: file.content for path, file in self.repositories[kind, name].find(revision).files.items()}

    def commit(self, parent: Commit | None, title: str, files: dict[str, File]) -> Commit:
        return Commit(secrets.token_hex(20), title, parent, files)


@dataclass
class Request:
    """What a route is told."""

    user: str | None
    query: dict[str, list[str]]
    body: bytes
    headers: dict[str, str]

    def json(self) -> dict:
        return json.loads(self.body)


@dataclass
class Answer:
    body: bytes | dict | list = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


ROUTES: list[tuple[str, re.Pattern, Callable]] = []
PLACE = r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)"


def route(methods: str, pattern: str) -> Callable:
    def register(function: Callable) -> Callable:
        ROUTES.extend((method, re.compile(pattern), function) for method in methods.split())
        return function

    return register


class _Handler(BaseHTTPRequestHandler):
    """Finds the route, reads the token, and writes the answer."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *arguments) -> None:
        pass

    def answer(self) -> None:
        address = urlsplit(self.path)
        self.hub.requests.append(f"{self.command} {self.path}")
        length = int(self.headers.get("Content-Length", 0))
        for failure in self.hub.failures:
            if failure.times and failure.method == self.command and re.search(failure.path, address.path):
                failure.times -= 1
                self.rfile.read(length if failure.status else length // 2)
                self.close_connection = True
                if failure.status:
                    self.write(Answer({"error": "out of order"}, failure.status))
                return
        body = (
            self.read_chunks() if "chunked" in self.headers.get("Transfer-Encoding", "") else self.rfile.read(length)
        )
        try:
            user = self.user()
            with self.hub.lock:
                for method, pattern, function in ROUTES:
                    if method == self.command and (match := pattern.fullmatch(address.path)):
                        request = Request(user, parse_qs(address.query), body, dict(self.headers))
                        parts = {name: unquote(part or "") for name, part in match.groupdict().items()}
                        self.write(function(self.hub, request, **parts))
                        return
            raise Refused(404, f"{self.command} {self.path} is none of this server's")
        except Refused as error:
            self.write(Answer(error.body, error.status, error.headers))

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def read_chunks(self) -> bytes:
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def user(self) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            raise Refused(401, "Invalid credentials in Authorization header")
        return self.hub.tokens.get(token)

    def write(self, answer: Answer) -> None:
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _repository(hub: Hub, request: Request, kind: str, name: str, write: bool = False) -> Repository:
    repository = hub.repositories.get((kind, name))
    mine = request.user is not None and request.user == name.split("/")[0]
    if repository is None or (repository.private and not mine):
        raise Refused(401 if request.user is None else 404, "Repository not found", "RepoNotFound")
    if write and not mine:
        raise Refused(403, f"You don't have write access to {name}")
    return repository


def _commit(repository: Repository, revision: str | None) -> Commit:
    commit = repository.find(revision or "main")
    if commit is None:
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit


@route("GET", "/api/whoami-v2")
def whoami(hub: Hub, request: Request) -> Answer:
    if request.user is None:
        raise Refused(401, "Invalid username or password.")
    token = {"displayName": "test", "role": "write"}
    return Answer({"name": request.user, "type": "user", "orgs": [], "auth": {"accessToken": token}})


@route("POST", "/api/validate-yaml")
def validate_yaml(hub: Hub, request: Request) -> Answer:
    front = re.match(r"---\n(.*?)\n---", request.json()["content"], re.DOTALL)
    metadata = yaml.safe_load(front[1]) if front else {}
    errors = [{"message": f'"{name}" must be set'} for name in ("license",) if not metadata.get(name, "unknown")]
    return Answer({"errors": errors, "warnings": []}, 400 if errors else 200)


@route("POST", "/api/repos/create")
def create(hub: Hub, request: Request) -> Answer:
    asked = request.json()
    if request.user is None:
        raise Refused(401, "Invalid username or password.")
    owner, kind = asked.get("organization") or request.user, f"{asked.get('type') or 'model'}s"
    name = f"{owner}/{asked['name']}"
    url = f"{hub.endpoint}/{'' if kind == 'models' else 'datasets/'}{name}"
    if owner != request.user:
        raise Refused(403, f"You don't have the rights to create a model under the namespace {owner!r}")
    if (kind, name) in hub.repositories:
        raise Refused(409, "You already created this model repo", url=url)
    first = hub.commit(None, "initial commit", {".gitattributes": File(b"*.safetensors filter=lfs\n", False)})
    private = asked.get("visibility") == "private" or bool(asked.get("private"))  # huggingface-hub says either
    hub.repositories[kind, name] = Repository(private, {f"{BRANCH}main": first})
    return Answer({"url": url, "name": name})


@route("GET", f"{PLACE}/auth-check(?P<write>/write)?")
def auth_check(hub: Hub, request: Request, kind: str, name: str, write: str) -> Answer:
    _repository(hub, request, kind, name, write=bool(write))
    return Answer({})


@route("GET", f"{PLACE}(/revision/(?P<revision>[^/]+))?")
def info(hub: Hub, request: Request, kind: str, name: str, revision: str) -> Answer:
    repository = _repository(hub, request, kind, name)
    commit = _commit(repository, revision)
    readme = commit.files.get("README.md", File(b"", False)).content.decode()
    front = re.match(r"---\n(.*?)\n---", readme, re.DOTALL)
    card = yaml.safe_load(front[1]) if front else {}
    siblings = [{"rfilename": path} for path in commit.files]
    if "blobs" in request.query:
        siblings = [
            {"rfilename": path, "blobId": file.oid, "size": len(file.content), **_lfs_part(file, path)}
            for path, file in commit.files.items()
        ]
    answer = {
        "id": name,
        "sha": commit.id,
        "private": repository.private,
        "siblings": siblings,
        "cardData": card,
        "tags": card.get("tags", []),
        "lastModified": DATE,
    }
    if kind == "models":
        answer |= {key: card[key] for key in ("pipeline_tag", "library_name") if key in card}
    return Answer(answer)


def _lfs_part(file: File, path: str) -> dict:
    return {"lfs": file.describe(path)["lfs"]} if file.lfs else {}


@route("GET", f"{PLACE}/tree/(?P<revision>[^/]+)(/(?P<folder>.+))?")
def tree(hub: Hub, request: Request, kind: str, name: str, revision: str, folder: str) -> Answer:
    files = _commit(_repository(hub, request, kind, name), revision).files
    prefix = f"{folder}/" if folder else ""
    deep = request.query.get("recursive", ["false"])[0].lower() in ("true", "1")
    entries = {}
    for path, file in files.items():
        if path.startswith(prefix):
            parts = path.removeprefix(prefix).split("/")
            for i in range(1, len(parts) if deep else min(len(parts), 2)):
                parent = prefix + "/".join(parts[:i])
                entries[parent] = {"type": "directory", "path": parent, "oid": "0" * 40, "size": 0}
            if deep or len(parts) == 1:
                entries[path] = file.describe(path)
    if folder and not entries:
        raise Refused(404, f"{folder} does not exist on {revision}", "EntryNotFound")
    return Answer(list(entries.values()))


@route("POST", f"{PLACE}/paths-info/(?P<revision>[^/]+)")
def paths_info(hub: Hub, request: Request, kind: str, name: str, revision: str) -> Answer:
    files = _commit(_repository(hub, request, kind, name), revision).files
    entries = []
    for path in parse_qs(request.body.decode()).get("paths", []):
        if path in files:
            entries.append(files[path].describe(path))
        elif any(other.startswith(f"{path}/") for other in files):
            entries.append({"type": "directory", "path": path, "oid": "0" * 40, "size": 0})
    return Answer(entries)


@route("GET", f"{PLACE}/commits/(?P<revision>[^/]+)")
def commits(hub: Hub, request: Request, kind: str, name: str, revision: str) -> Answer:
    commit, found = _commit(_repository(hub, request, kind, name), revision), []
    while commit is not None:
        found.append({"id": commit.id, "title": commit.title, "message": "", "date": DATE, "authors": []})
        commit = commit.parent
    return Answer(found)


@route("GET", f"{PLACE}/refs")
def refs(hub: Hub, request: Request, kind: str, name: str) -> Answer:
    found: dict[str, list] = {"branches": [], "tags": [], "converts": [], "pullRequests": []}
    for ref, commit in _repository(hub, request, kind, name).refs.items():
        group = "branches" if ref.startswith(BRANCH) else "tags" if ref.startswith(TAG) else "pullRequests"
        short = ref.removeprefix(BRANCH).removeprefix(TAG)
        found[group].append({"name": short, "ref": ref, "targetCommit": commit.id})
    return Answer(found)


@route("POST", f"{PLACE}/(?P<what>branch|tag)/(?P<revision>[^/]+)")
def make_ref(hub: Hub, request: Request, kind: str, name: str, what: str, revision: str) -> Answer:
    repository, asked = _repository(hub, request, kind, name, write=True), request.json()
    if what == "branch":
        ref, start = BRANCH + revision, asked.get("startingPoint")
    else:
        ref, start = TAG + asked["tag"], revision
    if ref in repository.refs:
        raise Refused(409, f"Reference already exists: {ref}")
    repository.refs[ref] = _commit(repository, start)
    return Answer({})


@route("POST", f"{PLACE}/preupload/(?P<revision>[^/]+)")
def preupload(hub: Hub, request: Request, kind: str, name: str, revision: str) -> Answer:
    repository = _repository(hub, request, kind, name, write="create_pr" not in request.query)
    files = _commit(repository, revision).files
    return Answer(
        {
            "files": [
                {
                    "path": path,
                    "uploadMode": "lfs" if path.endswith(LFS_SUFFIXES) else "regular",
                    "shouldIgnore": False,
                    "oid": (files[path].sha256 if files[path].lfs else files[path].oid) if path in files else None,
                }
                for path in (file["path"] for file in request.json()["files"])
            ]
        }
    )


@route("POST", r"/(?P<kind>datasets/)?(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch")
def lfs_batch(hub: Hub, request: Request, kind: str, name: str) -> Answer:
    _repository(hub, request, "datasets" if kind else "models", name)
    objects = []
    for entry in request.json()["objects"]:
        entry = {"oid": entry["oid"], "size": entry["size"]}
        if entry["oid"] not in hub.objects:
            # The client sends no token there: the address itself is the permission.
            entry["actions"] = {"upload": {"href": f"{hub.storage}/{entry['oid']}?signature={hub.secret}"}}
        objects.append(entry)
    return Answer({"transfer": "basic", "objects": objects})


@route("PUT", "/lfs/(?P<oid>[0-9a-f]{64})")
def lfs_put(hub: Hub, request: Request, oid: str) -> Answer:
    _check_signature(hub, request)
    if hashlib.sha256(request.body).hexdigest() != oid:
        raise Refused(400, "The content is not what it was said to be")
    hub.objects[oid] = request.body
    return Answer()


@route("GET HEAD", "/lfs/(?P<oid>[0-9a-f]{64})")
def lfs_get(hub: Hub, request: Request, oid: str) -> Answer:
    _check_signature(hub, request)
    return _content(request, hub.objects[oid], {})


def _check_signature(hub: Hub, request: Request) -> None:
    if request.query.get("signature") != [hub.secret] or "authorization" in map(str.lower, request.headers):
        raise Refused(403, "The address is not signed, or a token was sent to the storage")


@route("POST", f"{PLACE}/commit/(?P<revision>[^/]+)")
def commit(hub: Hub, request: Request, kind: str, name: str, revision: str) -> Answer:
    pull_request = request.query.get("create_pr") == ["1"]
    repository = _repository(hub, request, kind, name, write=not pull_request)
    parent = _commit(repository, revision)
    title, files = "", dict(parent.files)
    for line in map(json.loads, request.body.splitlines()):
        value = line["value"]
        if line["key"] == "header":
            title = value["summary"]
            if value.get("parentCommit") not in (None, parent.id):
                raise Refused(412, "The repository has changed since")
        elif line["key"] == "file":
            files[value["path"]] = File(base64.b64decode(value["content"]), lfs=False)
        elif line["key"] == "lfsFile":
            if value["oid"] not in hub.objects:
                raise Refused(400, f"{value['path']} was not uploaded")
            files[value["path"]] = File(hub.objects[value["oid"]], lfs=True)
        else:  # deletedFile, deletedFolder
            for path in [path for path in files if path == value["path"] or path.startswith(value["path"])]:
                del files[path]
    made = hub.commit(parent, title, files)
    url = f"{hub.endpoint}/{'' if kind == 'models' else 'datasets/'}{name}"
    answer = {"success": True, "commitOid": made.id, "commitUrl": f"{url}/commit/{made.id}"}
    if pull_request:
        repository.pull_requests += 1
        repository.refs[f"refs/pr/{repository.pull_requests}"] = made
        return Answer({**answer, "pullRequestUrl": f"{url}/discussions/{repository.pull_requests}"})
    ref = revision if revision in repository.refs else BRANCH + revision
    if ref not in repository.refs:
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    repository.refs[ref] = made
    return Answer(answer)


@route("GET HEAD", r"/(?P<kind>datasets/)?(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
def resolve(hub: Hub, request: Request, kind: str, name: str, revision: str, path: str) -> Answer:
    found = _commit(_repository(hub, request, "datasets" if kind else "models", name), revision)
    headers = {"X-Repo-Commit": found.id}
    if path not in found.files:
        error = Refused(404, f"{path} does not exist", "EntryNotFound")
        error.headers |= headers
        raise error
    file = found.files[path]
    if not file.lfs:
        return _content(request, file.content, {**headers, "ETag": f'"{file.oid}"'})
    linked = {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(len(file.content))}
    location = f"{hub.storage}/{file.sha256}?signature={quote(hub.secret)}"
    return Answer(b"", 302, {**headers, **linked, "Location": location})


def _content(request: Request, content: bytes, headers: dict[str, str]) -> Answer:
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", request.headers.get("range", "")))
    if asked is None:
        return Answer(content, 200, headers)
    first, last = int(asked[1]), int(asked[2] or len(content) - 1)
    part = content[first : last + 1]
    return Answer(part, 206, {**headers, "Content-Range": f"bytes {first}-{last}/{len(content)}"})
