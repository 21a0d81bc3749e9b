"""Settings of nbgrader for this course: copy this file into the course's folder, and the notebooks under source/.

`make course COURSE=folder` does both: one assignment a notebook, in source/<assignment>/<assignment>.ipynb.
"""

import os

c = get_config()  # noqa: F821 - nbgrader provides it
c.CourseDirectory.course_id = "looking_inside"
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE"}  # a blank exercise stops no Run All
c.ExecutePreprocessor.timeout = 600  # seconds a cell, on a busy machine
os.environ["INTERP_GRADING"] = "1"  # a check that did not pass raises, which is what nbgrader counts
os.environ["HF_HUB_OFFLINE"] = "1"  # a submission reaches no network for models
