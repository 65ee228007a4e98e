"""Say what results get wrong: ``python -m tools.diagnose --help``; the same as ``posefix diagnose``."""

from posefix.commands import diagnose

if __name__ == "__main__":
    diagnose(prog_name="tools.diagnose")
