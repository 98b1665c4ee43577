"""How Sphinx builds the site; `make site` calls it. What is built is laid out by scripts/course/site_sources.py."""

from docutils import nodes
from latex2mathml.converter import convert

project = "Mechanistic-interpretability labs"
extensions = ["myst_nb"]
root_doc = "index"

# pages: Markdown as on GitHub
myst_heading_anchors = 4  # `page.md#a-heading`, spelled as GitHub spells it
myst_enable_extensions = ["dollarmath", "tasklist"]
myst_dmath_allow_digits = False  # $5 is money
myst_dmath_allow_space = False
suppress_warnings = [
    "misc.highlighting_failure",  # a block tagged json may show an excerpt
    "myst.header",  # a page may begin with a heading of the second level
    "mystnb.unknown_mime_type",
]

# labs: with the outputs that they have
nb_execution_mode = "off"
nb_merge_streams = True
nb_code_prompt_show, nb_code_prompt_hide = "Show the check", "Hide the check"

# the look; nothing comes from elsewhere
html_theme = "furo"
html_title = project
pygments_dark_style = "github-dark"
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = html_show_copyright = False
html_use_index = False
html_show_search_summary = False  # it is fetched from the pages, which a browser refuses to do from file://
html_math_renderer = "mathml"


def inline_formula(page, node):
    page.body.append(convert(node.astext()))
    raise nodes.SkipNode


def formula(page, node):
    page.body.append(convert(node.astext(), display="block"))
    raise nodes.SkipNode


def setup(app):
    """Formulas become MathML, which browsers draw by themselves: no script, no fonts."""
    app.add_html_math_renderer("mathml", (inline_formula, None), (formula, None))
