#!/bin/sh
# See to what pip cannot install on Linux: OpenBLAS and a C++ compiler. With root and apt it installs
# them; otherwise it says what is missing and goes on, because edgelm runs without them, slower.
[ "$(uname -s)" = Linux ] || exit 0

missing=""
ldconfig -p 2>/dev/null | grep -q 'libopenblas\.so\.0' || missing="$missing libopenblas0-pthread"
command -v g++ >/dev/null 2>&1 || missing="$missing g++"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing$missing"
    # shellcheck disable=SC2086 # a list of words
    if apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing >/dev/null; then
        exit 0
    fi
fi
echo "note: without$missing edgelm runs slower on this machine; install with:" >&2
echo "      sudo apt-get install$missing" >&2
exit 0
