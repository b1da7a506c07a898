"""Formulas as MathML, which browsers show by themselves: no script, no font and no other site is asked for."""

from __future__ import annotations

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

_log = logging.getLogger(__name__)

_TAG = re.compile(r"\\tag\{([^}]*)\}")


def _mathml(node: nodes.Element, text: str, as_block: bool) -> str:
    try:
        return tex2mathml(text, as_block=as_block)
    except MathError as error:
        _log.warning("formula '%s': %s", text, error, location=node)
        return ""


def _inline(writer: HTML5Translator, node: nodes.Element) -> None:
    writer.body.append(_mathml(node, node.astext(), False))
    raise nodes.SkipNode


def _display(writer: HTML5Translator, node: nodes.Element) -> None:
    """A formula in the middle and its number (``\\tag``) at the right."""
    number = _TAG.search(node.astext())
    shown = f'<span class="eqno">({number[1]})</span>' if number else ""
    writer.body.append(
        f'<div class="formula"><div>{_mathml(node, _TAG.sub("", node.astext()), True)}</div>{shown}</div>'
    )
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
