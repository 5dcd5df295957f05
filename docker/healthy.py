#!/usr/bin/env python3.11
"""``healthy ROLE``: exits 0 if this container's master, worker, connect, notebook or mlflow answers."""

import json
import socket
import sys
import urllib.request


def page(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=4) as answer:
        return str(answer.read().decode())


def listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=4):
        return True


CHECKS = {
    "master": lambda: json.loads(page(8080, "/json/"))["status"] == "ALIVE",
    # It knows its master's page once it has registered.
    "worker": lambda: json.loads(page(8081, "/json/"))["masterwebuiurl"] != "",
    "connect": lambda: listens(15002),
    "notebook": lambda: "version" in json.loads(page(8888, "/api")),
    "mlflow": lambda: page(5000, "/health") == "OK",
}

if len(sys.argv) != 2 or sys.argv[1] not in CHECKS:
    sys.exit(f"usage: healthy {'|'.join(CHECKS)}")
try:
    healthy = CHECKS[sys.argv[1]]()
except (OSError, ValueError, KeyError) as error:
    sys.exit(f"{sys.argv[1]}: {error}")
if not healthy:
    sys.exit(f"{sys.argv[1]} answers, and is not ready")
