"""The site's Sphinx configuration. `dev/tools/build_site.py` lays out the sources and runs Sphinx on them."""

import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]
from docstrings import as_rst  # noqa: E402

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = PROJECT["urls"]["Repository"]

project = html_title = "Looking inside language models"
author = "The authors of interp-helpers"
copyright = "the authors of interp-helpers; prose and figures CC BY 4.0, code MIT"
release = PROJECT["version"]
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["README.md"]  # index.md includes it
myst_heading_anchors = 3
nb_execution_mode = "off"  # the stored outputs are what CI compares
nb_ipywidgets_js = {}  # the default asks a CDN
nb_code_prompt_show = "One solution"
nb_code_prompt_hide = "One solution"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True

html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_copy_source = False
html_use_index = html_domain_indices = False  # search finds more
html_show_search_summary = False  # it fetches pages, which a browser does not allow over file://
html_context = {"default_mode": "auto"}  # the theme asks for it and complains in the console
html_theme_options = {
    "repository_url": REPOSITORY,
    "repository_branch": "main",
    "use_repository_button": True,
    "navbar_persistent": [],  # the side bar has the search
    "use_download_button": False,  # student_edition has a better one
    "launch_buttons": {
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
        "notebook_interface": "jupyterlab",
    },
    "home_page_in_toc": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def student_edition(app, page, template, context, doctree):
    """Launch buttons open the edition with blank exercises, and one more downloads it."""
    if not page.startswith("notebooks/"):
        return
    name = page.replace("notebooks/", "notebooks/student/") + ".ipynb"
    for group in context["header_buttons"]:
        if group.get("label") == "launch-buttons":
            for button in group["buttons"]:
                button["url"] = button["url"].replace(f"{page}.ipynb", name)
            group["buttons"].append(
                {
                    "type": "link",
                    "text": "Download",
                    "tooltip": "The notebook with blank exercises",
                    "icon": "fas fa-download",
                    "url": context["pathto"](name, 1),
                }
            )


def setup(app):
    app.connect("html-page-context", student_edition, priority=600)  # after the theme's 501
    app.connect("autodoc-process-docstring", as_rst)
