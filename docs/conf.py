"""The site's Sphinx configuration. `dev/tools/build_site.py` lays out the sources and runs Sphinx on them."""

import sys
from pathlib import Path

import tomllib

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]
from docstrings import as_rst  # noqa: E402

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = html_title = "Looking inside language models"
author = "The authors of interp-helpers"
copyright = "the authors of interp-helpers; prose and figures CC BY 4.0, code MIT"
release = PROJECT["version"]
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "searching"]
exclude_patterns = ["README.md"]  # index.md includes parts of it
myst_heading_anchors = 3
nb_execution_mode = "off"  # the stored outputs are what CI compares
nb_ipywidgets_js = {}  # the default asks a CDN
nb_code_prompt_show = "Show the code"  # build_site.py says which cells are a solution
nb_code_prompt_hide = "Hide the code"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True

html_theme = "sphinx_book_theme"
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_additional_pages = {"search": "search.html"}
html_copy_source = False
html_use_index = html_domain_indices = False  # search finds more
html_context = {"default_mode": "auto"}  # the theme asks for it and complains in the console
html_theme_options = {
    "navbar_persistent": [],  # the side bar has the search
    "use_download_button": False,  # `notebook_page` has a better one
    "toc_title": "On this page",
    "back_to_top_button": False,  # on a phone it lies on the text
    "footer_content_items": ["copyright.html"],
    "home_page_in_toc": False,  # it is there as "Start"
    "max_navbar_depth": 1,  # what is for maintainers stands on a page of its own
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def with_repository(app, config):
    """Buttons that lead to the repository, to Binder and to Colab, once the course has an address."""
    if config.repository:
        config.html_theme_options |= {
            "repository_url": config.repository,
            "repository_branch": "main",
            "use_repository_button": True,
            "launch_buttons": {
                "binderhub_url": "https://mybinder.org",
                "colab_url": "https://colab.research.google.com",
                "notebook_interface": "jupyterlab",
            },
        }


def notebook_page(app, page, template, context, doctree):
    """A notebook's buttons open and download the edition with blank exercises; its cells link to its neighbours."""
    if not page.startswith("notebooks/"):
        return
    context["theme_show_prev_next"] = False
    name = page.replace("notebooks/", "notebooks/student/") + ".ipynb"
    for group in context["header_buttons"]:
        if group.get("label") == "launch-buttons":
            for button in group["buttons"]:
                button["url"] = button["url"].replace(f"{page}.ipynb", name)
    context["header_buttons"].append(
        {
            "type": "link",
            "tooltip": "Download the notebook with blank exercises",
            "icon": "fas fa-download",
            "url": context["pathto"](name, 1),
            "label": "download-notebook",
        }
    )


def setup(app):
    app.add_config_value("repository", PROJECT.get("urls", {}).get("Repository", ""), "html")
    app.connect("config-inited", with_repository)
    app.connect("html-page-context", notebook_page, priority=600)  # after the theme's 501
    app.connect("autodoc-process-docstring", as_rst)
