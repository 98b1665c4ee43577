"""Turn an executed notebook into one HTML page that needs no network: no MathJax, require.js or mermaid from a CDN."""

import re

import nbformat
from jinja2 import DictLoader
from nbconvert import HTMLExporter

# nbconvert's page, less the three blocks that load scripts from elsewhere. The labs use none of them.
_TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock html_head_js -%}
{%- block html_head_js_mathjax -%}{%- endblock html_head_js_mathjax -%}
{%- block html_head_js_mermaidjs -%}{%- endblock html_head_js_mermaidjs -%}
"""
_REMOTE = re.compile(
    r"""<script[^>]+src\s*=\s*["']?(?:https?:)?//[^>]*>(?:\s*</script>)?"""
    r"""|<link[^>]+href\s*=\s*["']?(?:https?:)?//[^>]*>""",
    re.I,
)


def html_page(notebook: nbformat.NotebookNode, title: str) -> str:
    """The notebook as a self-contained HTML page.

    Plotly adds MathJax from a CDN to each figure, in case a label holds a formula. Ours hold none, so it is taken out.
    """
    exporter = HTMLExporter(extra_loaders=[DictLoader({"offline.html.j2": _TEMPLATE})], template_file="offline.html.j2")
    page, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    return _REMOTE.sub("", page)


def remote_parts(page: str) -> list[str]:
    """The tags of a page that would load a script or a style sheet from elsewhere; empty for a self-contained page."""
    return _REMOTE.findall(page)
