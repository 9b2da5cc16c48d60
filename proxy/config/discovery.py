"""Finds a plugin's class by its name: ours and everybody's by the same entry points.

`use = "name"` looks in the entry-point group; `use = "package.module:Class"` imports. Called while a routes
file is loaded, never per exchange. Refuses whatever is not a `Plugin`, in words for the file's author.
"""

import pkgutil
from importlib.metadata import entry_points

from proxy.plugin import Plugin

GROUP = "gemini_weir.plugins"


def installed_plugins() -> list[str]:
    return sorted(entry.name for entry in entry_points(group=GROUP))


def find_plugin(use: object) -> type[Plugin]:
    """The plugin class `use` names. Raises ValueError that says what was found and how to cure it."""
    if not isinstance(use, str):
        raise ValueError(f'use: expected "NAME" or "package.module:Class", found {use!r}')  # noqa: TRY004
    try:
        if ":" in use:
            found = pkgutil.resolve_name(use)
        else:
            entries = entry_points(group=GROUP, name=use)
            if not entries:
                names = ", ".join(installed_plugins())
                raise ValueError(f'no plugin is installed under the name "{use}"; installed are: {names}')
            found = next(iter(entries)).load()
    except (ImportError, AttributeError, SyntaxError) as error:
        raise ValueError(
            f'cannot import the plugin "{use}": {error}; install its package or put its folder on PYTHONPATH'
        ) from error
    if not (isinstance(found, type) and issubclass(found, Plugin)):
        raise ValueError(  # noqa: TRY004  # one kind of error for whatever `use` gets wrong
            f'"{use}" is not a class derived from proxy.Plugin'
        )
    return found
