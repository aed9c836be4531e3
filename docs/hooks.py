"""What `mkdocs.yml` adds to mkdocs: the site's files, and examples in docstrings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from griffe import Extension, Object
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

INCLUDED = ("*.md", "docs/**/*", "*/README.md", "config/*.md", "resources/*/README.md", "tests/*/README.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of the site: all that `INCLUDED` matches, in the folders of the repository, and those of the theme.

    Links between documents are thus the same in the repository and in the site.
    """
    root = Path(config.docs_dir).parent
    for file in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(file)
    names = {path.relative_to(root).as_posix() for one in INCLUDED for path in root.glob(one) if path.is_file()}
    for name in sorted(names):
        files.append(File(name, str(root), config.site_dir, config.use_directory_urls))
    return files


class Doctests(Extension):
    """Shows a doctest (`>>> …`, to the next empty line) as a block of code; in Markdown it is a quotation."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        """Mark the block in the docstring of an object."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"(?m)^>>> (?:.|\n(?!\n))+", r"```pycon\n\g<0>\n```", obj.docstring.value)
