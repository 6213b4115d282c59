"""The API reference, from the docstrings, as static HTML: `python .ci/reference.py FOLDER`. A warning is an error."""

import sys
import typing
import warnings
from pathlib import Path

import pdoc

import jaxconv


def fields_known() -> None:
    """What pdoc cannot find out about a NamedTuple: the types of its constructor; "Attributes" explains its fields."""
    for name in jaxconv.__all__:
        public = getattr(jaxconv, name)
        if isinstance(public, type) and issubclass(public, tuple):
            public.__new__.__annotations__ = typing.get_type_hints(public)
            public.__new__.__doc__ = ""
            for field in public._fields:
                getattr(public, field).__doc__ = ""


def main(folder: str) -> None:
    warnings.simplefilter("error")
    fields_known()
    pdoc.render.configure(docformat="google", footer_text=f"jaxconv {jaxconv.__version__}")
    pdoc.pdoc("jaxconv", "jaxconv.plot", output_directory=Path(folder))  # the pages of two modules have a search


if __name__ == "__main__":
    main(*sys.argv[1:])
