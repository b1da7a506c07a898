"""The documentation site: `make docs` builds it into build/docs, with warnings as errors and without the network."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("_ext")))

import lingraft

project = "lingraft"
author = "the lingraft authors"
copyright = author
version = release = lingraft.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "generated", "mathml", "prose_parameters"]
exclude_patterns = ["_ext", "_static"]
default_role = "code"

myst_enable_extensions = ["attrs_inline", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
# what a shell's line of this site looks like is what tests/test_docs.py runs: nothing is rewritten on the way
smartquotes = False

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
add_module_names = False

html_theme = "furo"
html_title = f"lingraft {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"
html_last_updated_fmt = None
