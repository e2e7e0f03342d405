#!/bin/sh
# Print the path of a Python that edgelm and its wheels run on: 3.11 or later, native on Apple silicon. Without one, say what
# is there and what to install, and fail. $PYTHON, where it is set, is the only one that is tried.
set -u

# The Python of Apple's Command Line Tools is 3.9, and an installer's is not on the path of a shell that was open before it ran.
if [ "$(uname -s)" = Darwin ]; then
    PATH="$PATH:/opt/homebrew/bin:/usr/local/bin"
    for version in 3.14 3.13 3.12 3.11; do
        PATH="$PATH:/Library/Frameworks/Python.framework/Versions/$version/bin"
    done
fi

suits() {
    "$1" -c '
import platform, subprocess, sys, sysconfig
if sys.version_info < (3, 11) or sysconfig.get_config_var("Py_GIL_DISABLED"):
    sys.exit(1)
if sys.platform == "darwin" and platform.machine() == "x86_64":
    arm = subprocess.run(["/usr/sbin/sysctl", "-n", "hw.optional.arm64"], capture_output=True, text=True).stdout
    sys.exit(arm.strip() == "1")  # under Rosetta: MLX has no wheels for it
' >/dev/null 2>&1
}

offer() {
    if [ -n "$1" ] && suits "$1"; then
        command -v "$1"
        exit 0
    fi
}

if [ -n "${PYTHON:-}" ]; then
    offer "$PYTHON"
else
    for name in python3.14 python3.13 python3.12 python3.11 python3 python; do
        offer "$(command -v "$name" || true)"
    done
    offer "$(uv python find '>=3.11' 2>/dev/null || true)"
fi

{
    echo "error: edgelm needs Python 3.11 or later"
    for name in ${PYTHON:+"$PYTHON"} python3; do
        where=$(command -v "$name" || true)
        if [ -n "$where" ]; then
            echo "       $where is $("$where" -c 'import platform; print("Python", platform.python_version(), platform.machine())' 2>&1 | head -n 1)"
        fi
    done
    echo "hint: install one, then run this again:"
    case $(uname -s) in
        Darwin) echo "          brew install python@3.13      or the installer from https://www.python.org/downloads/macos/" ;;
        *) echo "          sudo apt-get install python3 python3-venv" ;;
    esac
    echo "          uv python install 3.13        where there is uv (https://docs.astral.sh/uv/)"
    echo "      or name one: make PYTHON=/path/to/python3"
} >&2
exit 1
