"""Say at once, in one line, when this Python is not one of those that the course runs on."""

import sys

if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    sys.exit(
        "The course runs on Python 3.10 to 3.13; {} is {}.{}. Name another one: make PYTHON=python3.12 ...".format(
            sys.executable, *sys.version_info[:2]
        )
    )
