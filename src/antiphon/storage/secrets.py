"""How is a URL shown to people, who must not see its password?"""

from __future__ import annotations

import re


def without_secrets(url: str) -> str:
    """The URL with a password replaced by stars, wherever it stands."""
    url = re.sub(r"//([^/:@?#]*):.*@", r"//\1:***@", url)
    return re.sub(r"([?&][^=&]*(?:password|passfile|sslkey)[^=&]*=)[^&]*", r"\1***", url, flags=re.IGNORECASE)
