"""The pages as repositories show them, made ready for a site.

A link that leaves `docs/`, to a source file or a folder, goes to the repository where `repo_url` is set, and
is else the path that it names. A fence's second word, the type of a message of the protocol, becomes its
title.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path, PurePosixPath
from typing import Any

log = logging.getLogger("mkdocs.hooks.links")

ROOT = Path(__file__).parents[2]
OUTSIDE = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<target>\.\./[^)\s]+)\)")
NAMED_FENCE = re.compile(r"^```(?P<language>\w+) (?P<name>\w+)$", re.MULTILINE)


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    folder = PurePosixPath(page.file.src_uri).parent

    def outside(link: re.Match[str]) -> str:
        text, target = link["text"], link["target"]
        path = (ROOT / "docs" / folder / target).resolve()
        if path.is_relative_to(ROOT / "docs"):
            return link[0]
        if not path.exists():
            log.warning("%s: the link to %s leads nowhere", page.file.src_uri, target)
        if config.repo_url:
            return f"[{text}]({config.repo_url.rstrip('/')}/tree/main/{path.relative_to(ROOT).as_posix()})"
        return text

    return NAMED_FENCE.sub(r'```\g<language> title="\g<name>"', OUTSIDE.sub(outside, markdown))
