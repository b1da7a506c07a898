"""A stand-in for the part of the Hugging Face hub's HTTP interface that an upload talks to, on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_stand_in"
OWNER = "somebody"


class Hub:
    """Repositories in memory.

    repos: name to {"private": ..., "files": {path: bytes}, "commits": [id, ...]}. stored: large files by SHA-256.
    requests: (method, path) of everything that was asked. broken: part of a path that is answered with a 500.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.broken: str | None = None
        self.address = ""

    def answer(self, method: str, path: str, headers, body: bytes) -> tuple[int, object]:
        self.requests.append((method, path))
        if self.broken and self.broken in path:
            return 500, {"error": "broken"}
        if path.startswith("/lfs/"):
            content = hashlib.sha256(body).hexdigest()
            if content != path.removeprefix("/lfs/"):
                return 400, {"error": "other bytes than announced"}
            self.stored[content] = body
            return 200, {}
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid username or password."}
        if path == "/api/whoami-v2":
            return 200, {"name": OWNER, "type": "user"}
        if path == "/api/validate-yaml":
            return 200, {"warnings": [], "errors": []}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            actions = [o | {"actions": {"upload": {"href": f"{self.address}/lfs/{o['oid']}"}}} for o in objects]
            return 200, {"transfer": "basic", "objects": actions}
        parts = path.split("/")
        name = "/".join(parts[3:5])
        if name not in self.repos:
            return 404, {"error": "Repository not found"}
        action = parts[5] if len(parts) > 5 else ""
        if action == "preupload":
            files = [{"path": f["path"], "size": f["size"]} for f in json.loads(body)["files"]]
            modes = ["lfs" if file["path"].endswith(".safetensors") else "regular" for file in files]
            return 200, {
                "files": [f | {"uploadMode": m, "shouldIgnore": False} for f, m in zip(files, modes, strict=True)]
            }
        if action == "commit":
            return self._commit(name, [json.loads(line) for line in body.splitlines()])
        repo = self.repos[name]
        siblings = [{"rfilename": file} for file in sorted(repo["files"])]
        return 200, {"id": name, "private": repo["private"], "sha": "0" * 40, "siblings": siblings}

    def _create(self, asked: dict) -> tuple[int, object]:
        name = f"{asked.get('organization') or OWNER}/{asked['name']}"
        if not name.startswith(f"{OWNER}/"):
            return 403, {"error": "You don't have the rights to create a model under this namespace"}
        self.repos[name] = {
            "private": "private" in (asked.get("visibility"), asked.get("private") and "private"),
            "files": {},
        }
        return 200, {"url": f"{self.address}/{name}"}

    def _commit(self, name: str, lines: list[dict]) -> tuple[int, object]:
        files = self.repos[name]["files"]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.stored[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        commit = hashlib.sha1(json.dumps(lines).encode()).hexdigest()  # noqa: S324
        return 200, {"commitUrl": f"{self.address}/{name}/commit/{commit}", "commitOid": commit}


@contextmanager
def stand_in() -> Iterator[Hub]:
    """Serves a hub on a free port; its ``address`` is where."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            status, value = hub.answer(self.command, self.path.partition("?")[0], self.headers, self._body())
            content = json.dumps(value).encode()
            self.send_response(status)
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            elif status >= 400:
                self.send_header("X-Error-Message", str(value["error"]))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        do_GET = do_POST = do_PUT = do_HEAD = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
