"""JupyterHub for a class on one Linux machine: accounts of its group students log in with their passwords.

docs/classroom.md says how to start it. Passwords cross the network, so it serves HTTPS only.
"""

import sys
from pathlib import Path

c = get_config()  # noqa: F821 - JupyterHub provides it
c.JupyterHub.bind_url = "https://:8000"
c.JupyterHub.ssl_cert, c.JupyterHub.ssl_key = "/srv/hub/cert.pem", "/srv/hub/key.pem"
c.JupyterHub.db_url, c.JupyterHub.cookie_secret_file = "sqlite:////srv/hub/hub.sqlite", "/srv/hub/cookie"
c.LocalAuthenticator.allowed_groups = {"students"}
c.Spawner.cmd = [str(Path(sys.executable).parent / "jupyterhub-singleuser")]  # of the course's environment
c.Spawner.notebook_dir, c.Spawner.default_url = "~", "/lab/tree/student/01_baseline.ipynb"
c.Spawner.start_timeout = c.Spawner.http_timeout = 300  # seconds, when all log in at once
c.JupyterHub.active_server_limit = 31  # a class and its teacher, with 0.7 to 1.6 GB each
c.Spawner.environment = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
