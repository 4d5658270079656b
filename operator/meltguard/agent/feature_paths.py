"""Features that are paths of the image server: who asks there uses the feature, whatever its headers say."""

import posixpath
import re
from typing import Final
from urllib.parse import unquote

from meltguard.errors import InvalidInput

FORM: Final = "write FEATURE=/path, such as image-edit=/v1/images/edits, divided by commas"
SLASHES: Final = re.compile("/{2,}")


class FeaturePaths:
    """Which feature a path belongs to. A path stands for all below it; of two that hold, the longer one counts."""

    def __init__(self, features: dict[str, str] | None = None) -> None:
        """The features by their paths."""
        paths = {path.rstrip("/"): feature for path, feature in (features or {}).items()}
        self._paths = sorted(paths.items(), key=lambda each: len(each[0]), reverse=True)

    def __bool__(self) -> bool:
        return bool(self._paths)

    @classmethod
    def parse(cls, text: str) -> "FeaturePaths":
        """Read `feature=/path` entries divided by commas.

        Raises:
            InvalidInput: an entry is none.

        >>> FeaturePaths.parse("image-edit=/v1/images/edits").of("/v1/images//edits/")
        'image-edit'
        """
        named = {}
        for entry in filter(None, map(str.strip, text.split(","))):
            feature, equals, path = entry.partition("=")
            if not equals or not feature or not path.rstrip("/").startswith("/"):
                raise InvalidInput(f"feature path {entry!r}: {FORM}")
            named[path] = feature
        return cls(named)

    def of(self, path: str) -> str | None:
        """The feature of a request's path, in whatever spelling a server reads it; None where it has none."""
        plain = posixpath.normpath(SLASHES.sub("/", unquote(path)))
        return next((one for prefix, one in self._paths if plain == prefix or plain.startswith(f"{prefix}/")), None)
