"""Read the settings module with a test's own environment, without changing the running Django."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[2]
PRODUCTION = {
    "PATH": os.environ["PATH"],
    "ENV_FILE": os.devnull,
    "SECRET_KEY": "Wq3_Zr9-Ty1.Lk5~Mn7+Pb2=Xc8*Vd4" * 2,
    "API_KEY_PEPPERS": "Gh6_Jf0-Sa2.Qe4~Ru8+Io1=Kz5*Nw3" * 2,
    "GATEWAY_SECRET": "Bn4_Ht7-Ye9.Uc2~Aj6+Fl0=Dp3*Og8",
    "ALLOWED_HOSTS": "gatehouse.test",
}


def read_settings(var_dir, **environment):
    """The settings of config/settings.py in production; None removes a variable."""
    values = PRODUCTION | {"VAR_DIR": str(var_dir)} | environment
    present = {name: value for name, value in values.items() if value is not None}
    with patch.dict(os.environ, present, clear=True):
        return runpy.run_path(str(ROOT / "config" / "settings.py"))
