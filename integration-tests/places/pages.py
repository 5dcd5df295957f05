"""Commands as the documentation gives them."""

import re
import textwrap
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def commands(page: str, language: str = "sh") -> list[str]:
    """The page's code blocks of this language."""
    text = (REPOSITORY / page).read_text()
    return [
        textwrap.dedent(block)
        for block in re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]
