"""What the search page searches: every section of the site with its words, as one script.

Sphinx's own index holds word stems and no sentences, and its results fetch whole pages, which a browser does not allow
over file://.
"""

import json
from pathlib import Path

from docutils import nodes
from sphinx import addnodes

# Tables of numbers, in which every word occurs: a hit there says nothing. And outputs, which are numbers and pictures.
LEFT_OUT = ["docs/claims", "docs/benchmarks"]
FINDABLE = (nodes.section, addnodes.desc, nodes.definition_list_item)  # what may be found by itself
HEADS = (nodes.title, nodes.term, addnodes.desc_signature)
SKIPPED = (*HEADS, nodes.raw, nodes.comment, addnodes.toctree)


def named(node):
    """(title, anchor) of a node that is found by itself; None of another one."""
    head = node.next_node(lambda each: isinstance(each, HEADS))
    if not isinstance(node, FINDABLE) or head is None or not (ids := node.get("ids") or head.get("ids")):
        return None
    return head.get("fullname") or head.astext(), ids[0]


def blocks(node):
    """The paragraphs and pieces of code of a node, without those of the sections in it."""
    for child in node.children:
        if isinstance(child, SKIPPED) or named(child) or "cell_output" in child.get("classes", []):
            continue
        if isinstance(child, nodes.FixedTextElement):
            yield "\t" + child.astext().replace("\n", "\n\t")
        elif isinstance(child, nodes.row):
            yield " · ".join(" ".join(cell.astext().split()) for cell in child.children)
        elif isinstance(child, nodes.TextElement):
            yield " ".join(child.astext().split())
        else:
            yield from blocks(child)


def documents(page, doctree):
    """[{title, url, text}] of a page's sections, functions and terms.

    Each line of `text` is a paragraph, or begins with a tab and is code.
    """
    found = [(node, name) for node in doctree.findall(nodes.Element) if (name := named(node))]
    return [
        {"title": title, "url": f"{page}.html#{anchor}", "text": "\n".join(blocks(node))}
        for node, (title, anchor) in found
    ]


def collect(app, page, template, context, doctree):
    if doctree is not None and page not in LEFT_OUT:
        name = app.env.titles[page].astext().partition(":")[0]  # a notebook's title is followed by its question
        app.search_documents += [{"page": name, **each} for each in documents(page, doctree)]


def write(app, failure):
    if not failure:
        # One element a line: a script that assigns it works over file://, where JSON could not be fetched.
        lines = ",\n".join(json.dumps(each, ensure_ascii=False) for each in app.search_documents)
        target = Path(app.outdir) / "_static/search-documents.js"
        target.write_text(f"globalThis.searchDocuments = [\n{lines}\n];\n", encoding="utf-8")


def begin(app):
    app.builder.search = False  # this takes its place
    app.search_documents = []


def setup(app):
    app.connect("builder-inited", begin)
    app.connect("html-page-context", collect)
    app.connect("build-finished", write)
