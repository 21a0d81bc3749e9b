"""Settings of nbgrader for this course: copy this file into the course's folder, and the notebooks under source/.

`make course COURSE=folder` does both: one assignment a notebook, in source/<assignment>/<assignment>.ipynb.
"""

import os
import secrets

import nbformat
from nbgrader.converters.autograde import Autograde
from nbgrader.preprocessors import Execute

c = get_config()  # noqa: F821 - nbgrader provides it
c.CourseDirectory.course_id = "looking_inside"
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE"}  # a blank exercise stops no Run All
c.ExecutePreprocessor.timeout = 600  # seconds a cell, on a busy machine
os.environ["INTERP_GRADING"] = "1"  # a check that did not pass raises, which is what nbgrader counts
os.environ["HF_HUB_OFFLINE"] = "1"  # a submission reaches no network for models

# A submission's own cells run in the same Python as its checks. So in front of each check the course's `exercises` is
# read again from its files, and behind it a word is shown that is drawn anew each time. Where the word is missing, the
# check did not come to its end, and counts as failed.
AFRESH = """
import importlib, os, sys
os.environ["INTERP_GRADING"] = "1"
old = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("interp_helpers.exercises")}
new = importlib.import_module("interp_helpers.exercises")
new._results.update(getattr(old.get(new.__name__), "_results", {}))
"""
CHECK = """exec({afresh!r}, {{}})
from interp_helpers import exercises
{source}
__import__("IPython").display.publish_display_data({{"{kind}": "{word}"}})"""
KIND = "text/x-interp-helpers"
NOT_RUN = "The check did not come to its end: something in this notebook keeps it from running."


class ExecuteChecked(Execute):
    """nbgrader's own step that runs a submission, with this in front of each check and behind it."""

    word = source = None  # of the check that runs now: what is shown behind it, and what stands in its cell

    def on_cell_execute(self, cell, cell_index):
        about = cell.metadata.get("nbgrader", {})
        self.source = cell.source
        self.word = secrets.token_hex() if about.get("grade") and not about.get("solution") else None
        if self.word:
            cell.source = CHECK.format(afresh=AFRESH, source=cell.source, kind=KIND, word=self.word)

    def on_cell_complete(self, cell, cell_index):  # it was sent to Python
        cell.source = self.source

    def on_cell_executed(self, cell, **reply):
        super().on_cell_executed(cell=cell, **reply)
        if self.word:
            shown = [output for output in cell.outputs if output.get("data", {}).get(KIND) == self.word]
            cell.outputs = [output for output in cell.outputs if output not in shown]
            if not shown and not any(output.output_type == "error" for output in cell.outputs):
                error = nbformat.v4.new_output("error", ename="CheckError", evalue=NOT_RUN, traceback=[NOT_RUN])
                cell.outputs.append(error)


steps = Autograde.class_traits()["autograde_preprocessors"].default()
c.Autograde.autograde_preprocessors = [ExecuteChecked if step is Execute else step for step in steps]
