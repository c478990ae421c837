"""A platform's own options: words on the command line and in the catalog, typed and checked by the platform.

Each platform has one frozen dataclass whose fields are made by :func:`option`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from twinhull.model.errors import UsageError
from twinhull.platforms.contract.settings import SiteSettings

MAX_PATH_BYTES = 4096

Options = TypeVar("Options")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class NoOptions:
    """Of a platform that has none."""


def option(default: Value, parse: Callable[[str], Value], about: str, *, is_fixed: bool = False) -> Value:
    """A field of an options class; ``parse`` raises ValueError, and ``about`` is one line for people.

    One that ``is_fixed`` stays as it was when the site was connected.
    """
    made: Value = field(default=default, metadata={"parse": parse, "about": about, "is_fixed": is_fixed})
    return made


def absolute_path(word: str) -> str:
    """A path on a site's host; raises ValueError."""
    if not word.startswith("/") or len(word.encode()) > MAX_PATH_BYTES or not word.isprintable():
        raise ValueError("an absolute path is expected")
    return word


def options_of(kind: type[Options], settings: SiteSettings) -> Options:
    """The site's options, typed; raises UsageError.

    A word that the platform does not know is ignored: older catalogs may hold one.
    """
    known = {each.name: each.metadata["parse"] for each in fields(kind)}  # type: ignore[arg-type]
    values = {name: _parsed(settings, name, known[name]) for name in settings.options if name in known}
    return kind(**values)


def _parsed(settings: SiteSettings, name: str, parse: Callable[[str], Any]) -> Any:  # noqa: ANN401 - each field's own
    word = settings.options[name]
    try:
        return parse(word)
    except ValueError as error:
        raise UsageError(f"The option {name}={word} of site '{settings.name}' makes no sense: {error}.") from error


def require_fixed(kind: type[Any], old: SiteSettings, new: SiteSettings) -> None:
    """Refuse to change an option that says where things of ours are on the site; raises UsageError."""
    before, after = options_of(kind, old), options_of(kind, new)
    for each in fields(kind):
        if each.metadata["is_fixed"] and getattr(before, each.name) != getattr(after, each.name):
            raise UsageError(
                f"The option '{each.name}' of site '{old.name}' stays as it is: {each.metadata['about']}.",
                hint="To use another one, connect it as a site of its own: twinhull site add NAME URI",
            )


def checked_options(kind: type[Any], settings: SiteSettings) -> Mapping[str, str]:
    """All of the site's options as words, the defaults included; raises UsageError, also for an unknown one."""
    known = {each.name: each.metadata["about"] for each in fields(kind)}
    unknown = sorted(set(settings.options) - set(known))
    if unknown:
        listed = "; ".join(f"{name}: {about}" for name, about in known.items())
        raise UsageError(
            f"A {settings.platform} site has no option '{unknown[0]}'.",
            hint=f"Its options are {listed}." if known else "It has no options.",
        )
    found = options_of(kind, settings)
    return {name: word for name in known if (word := str(getattr(found, name)))}
