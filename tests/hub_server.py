"""A small hub on 127.0.0.1: repositories, commits, tags, large files and downloads, in memory.

It speaks what ``huggingface_hub`` asks of the real one when something is uploaded, looked at and
downloaded; what it does not know it answers with 404.
"""

import base64
import hashlib
import json
import re
import secrets
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

TOKEN = "hf_secretsecretsecret"  # noqa: S105 - of this hub alone
OWNER = "lab"
"""Whose repositories the token may write to."""

type Answer = tuple[int, Any]
"""Status, and bytes or what becomes JSON."""


@dataclass
class Repo:
    """One repository; commits are whole trees."""

    is_private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Files by path, by commit, oldest first."""
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def head(self) -> str:
        """The newest commit."""
        return list(self.commits)[-1]

    def add(self, files: dict[str, bytes]) -> str:
        """Commit a tree."""
        commit = secrets.token_hex(20)  # another one in every hub: clients keep what they have had
        self.commits[commit] = files
        return commit

    def resolve(self, revision: str) -> str | None:
        """The commit that a tag, a branch or a commit stands for."""
        found = {"main": self.head, **self.tags}.get(revision, revision)
        return found if found in self.commits else None


@dataclass
class Hub:
    """What the server holds."""

    address: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    """By type and name: ``datasets/lab/towels``."""
    large: dict[str, bytes] = field(default_factory=dict)
    """Large files by SHA-256."""
    requests: list[str] = field(default_factory=list)
    """Method and path, in order."""
    broken: dict[str, int] = field(default_factory=dict)
    """Status to answer with, by a part of the path."""

    def num_requests(self, pattern: str) -> int:
        """How many requests match."""
        return sum(re.search(pattern, request) is not None for request in self.requests)


@contextmanager
def running_hub() -> Generator[Hub]:
    """Serve a hub until the end of the block."""
    hub = Hub()
    handler = type("BoundHandler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[Hub]
    protocol_version = "HTTP/1.1"
    extra: dict[str, str]

    def do_GET(self) -> None:
        self._respond()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Nothing is printed."""

    def _respond(self) -> None:
        self.extra = {}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or self._chunks()
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        broken = [status for part, status in self.hub.broken.items() if part in path]
        status, content = (broken[0], {"error": "broken"}) if broken else self._answer(path, body)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in self.extra.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _chunks(self) -> bytes:
        """A body whose length was not said before."""
        parts = []
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        return b"".join(parts)

    def _answer(self, path: str, body: bytes) -> Answer:
        if path.startswith("/large/"):
            return self._large(path.rpartition("/")[2], body)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._refuse(401, "Invalid credentials in Authorization header")
        pages: dict[str, Callable[..., Answer]] = {
            r"/api/validate-yaml": self._validate,
            r"/api/repos/create": self._create,
            r"/.+\.git/info/lfs/objects/batch": self._batch,
            r"/api/(\w+/[^/]+/[^/]+)(?:/(\w+)(?:/(.+))?)?": self._api,
            r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)": self._resolve,
        }
        for pattern, answer in pages.items():
            if found := re.fullmatch(pattern, path):
                return answer(*found.groups(), body)
        return self._refuse(404, f"no such page: {path}")

    def _refuse(self, status: int, message: str, code: str = "") -> Answer:
        self.extra = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        return status, {"error": message}

    def _validate(self, body: bytes) -> Answer:
        if "license: no-such" in json.loads(body)["content"]:
            return 400, {"errors": [{"message": '"license" must be one of ...'}], "warnings": []}
        return 200, {"errors": [], "warnings": []}

    def _create(self, body: bytes) -> Answer:
        asked = json.loads(body)
        if asked["organization"] != OWNER:
            return self._refuse(403, f"You don't have the rights to create under {OWNER}")
        name = f"{asked['type']}s/{asked['organization']}/{asked['name']}"
        repo = Repo(asked.get("visibility") == "private" or bool(asked.get("private")))
        repo.add({".gitattributes": b""})
        self.hub.repos[name] = repo
        return 200, {"url": f"{self.hub.address}/{name}"}

    def _api(self, name: str, what: str | None, rest: str | None, body: bytes) -> Answer:
        repo = self.hub.repos.get(name)
        if repo is None:
            return self._refuse(404, "Repository not found", "RepoNotFound")
        match what:
            case "tag":
                return self._tag(repo, rest or "", body)
            case "commit":
                return self._commit(name, repo, body)
            case "preupload":
                files = json.loads(body)["files"]
                return 200, {"files": [_upload_mode(file) for file in files]}
            case "refs":
                return 200, _refs(repo)
            case _:
                return self._tree(name, repo, rest or "main", is_list=what == "tree")

    def _tree(self, name: str, repo: Repo, revision: str, *, is_list: bool) -> Answer:
        commit = repo.resolve(revision)
        if commit is None:
            return self._refuse(404, "Revision not found", "RevisionNotFound")
        files = repo.commits[commit]
        if is_list:
            return 200, [{"type": "file", "path": path, "size": len(content),
                          "oid": hashlib.sha256(content).hexdigest()[:40]}
                         for path, content in files.items()]  # fmt: skip
        siblings = [{"rfilename": path} for path in files]
        return 200, {"id": name.partition("/")[2], "sha": commit, "private": repo.is_private,
                     "siblings": siblings}  # fmt: skip

    def _tag(self, repo: Repo, name: str, body: bytes) -> Answer:
        if self.command == "DELETE":
            if repo.tags.pop(name, None) is None:
                return self._refuse(404, "Tag not found", "RevisionNotFound")
            return 200, {}
        repo.tags[json.loads(body)["tag"]] = repo.resolve(name) or repo.head
        return 200, {}

    def _batch(self, body: bytes) -> Answer:
        objects = []
        for each in json.loads(body)["objects"]:
            answer = {"oid": each["oid"], "size": each["size"]}
            if each["oid"] not in self.hub.large:
                address = f"{self.hub.address}/large/{each['oid']}"
                answer["actions"] = {"upload": {"href": address}}
            objects.append(answer)
        return 200, {"transfer": "basic", "objects": objects}

    def _large(self, oid: str, body: bytes) -> Answer:
        if hashlib.sha256(body).hexdigest() != oid:
            return self._refuse(400, "another digest")
        self.hub.large[oid] = body
        return 200, {}

    def _commit(self, name: str, repo: Repo, body: bytes) -> Answer:
        files = dict(repo.commits[repo.head])
        for line in filter(None, body.splitlines()):
            entry = json.loads(line)
            value = entry["value"]
            match entry["key"]:
                case "header":
                    if value.get("parentCommit", repo.head) != repo.head:
                        return self._refuse(412, "A commit has happened since")
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.hub.large[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        commit = repo.add(files)
        page = f"{self.hub.address}/{name.removeprefix('models/')}/commit/{commit}"
        return 200, {"success": True, "commitOid": commit, "commitUrl": page}

    def _resolve(self, name: str, revision: str, path: str, body: bytes) -> Answer:
        del body
        repo = self.hub.repos.get(name if name.startswith("datasets/") else f"models/{name}")
        commit = None if repo is None else repo.resolve(revision)
        if repo is None or commit is None or path not in repo.commits[commit]:
            return self._refuse(404, "Entry not found", "EntryNotFound")
        content = repo.commits[commit][path]
        etag = hashlib.sha256(content).hexdigest()
        self.extra = {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
        return 200, content


def _refs(repo: Repo) -> dict[str, Any]:
    return {
        "branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head}],
        "tags": [
            {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": commit}
            for tag, commit in repo.tags.items()
        ],
        "converts": [],
    }


def _upload_mode(file: dict[str, Any]) -> dict[str, Any]:
    is_large = file["path"].endswith((".parquet", ".mp4")) or "/d/" in file["path"]
    return {
        "path": file["path"],
        "uploadMode": "lfs" if is_large else "regular",
        "shouldIgnore": False,
    }
