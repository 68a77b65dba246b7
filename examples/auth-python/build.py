"""Makes the plugin: one executable file that holds this project's Python code, as `make` runs it.

    python3 build.py DIRECTORY       # writes DIRECTORY/auth-python
    python3 build.py environment     # says which virtual environment it wants, below DIRECTORY

A plugin of lmqgate is one file in plugins.dir, so that its owner, its permissions and its checksum say what will run. The file
is a zip archive, which Python runs, behind a few lines of shell, which find the Python with grpcio and protobuf: that of a
virtual environment beside it. The environment is named after what requirements.txt says, so a new one takes nothing away
from a plugin that runs. The same code makes the same bytes.
"""

import hashlib
import io
import pathlib
import sys
import zipfile

NAME = "auth-python"
HERE = pathlib.Path(__file__).resolve().parent

LAUNCHER = """#!/bin/sh
python="$(dirname "$0")/{environment}/bin/python"
if [ ! -x "$python" ]; then
	echo "{name}: there is no $python; run make install in the plugin's project" >&2
	exit 1
fi
exec "$python" -I "$0"
"""


def environment():
    wanted = (HERE / "requirements.txt").read_bytes() + f"python {sys.version_info.major}.{sys.version_info.minor}".encode()
    return f"{NAME}.venv/{hashlib.sha256(wanted).hexdigest()[:12]}"


def files():
    """All Python files of the project and of the package lmqgate, but those that only make or test the plugin."""
    own = [f for f in sorted(HERE.glob("*.py")) if f.name != "build.py" and not f.name.startswith("test_")]
    for path in own + sorted((HERE / "lmqgate").rglob("*.py")):
        yield path, path.relative_to(HERE).as_posix()


def archive():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, name in files():
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes())  # ZipInfo's date is a fixed one
    return out.getvalue()


def main(directory):
    path = pathlib.Path(directory) / NAME
    new = path.with_name("." + NAME + ".new")
    new.write_bytes(LAUNCHER.format(environment=environment(), name=NAME).encode() + archive())
    new.chmod(0o755)
    new.replace(path)  # a plugin that runs keeps its old file


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} DIRECTORY | environment")
    if sys.argv[1] == "environment":
        print(environment())
    else:
        main(sys.argv[1])
