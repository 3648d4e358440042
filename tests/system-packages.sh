#!/bin/sh
# Installs the system programs that tests and demo drive, where it may (root or sudo on Debian and Ubuntu).
# Elsewhere it says in one line what is missing; what needs them is then skipped by name.
set -u
need=""
want() { command -v "$1" >/dev/null 2>&1 || need="$need $2"; }
want Xvfb xvfb
want xdotool xdotool
want openbox openbox
want trayer trayer
want xterm xterm
want xprop x11-utils
want setxkbmap x11-xkb-utils
want import imagemagick
want dbus-run-session dbus
want gnome-keyring-daemon gnome-keyring
want softhsm2-util softhsm2
want ip iproute2
want node nodejs
if command -v dpkg-query >/dev/null 2>&1; then
    for p in libxcb-cursor0 libxkbcommon-x11-0 libegl1 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libxcb-image0 libxcb-render-util0 fonts-dejavu-core; do
        dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || need="$need $p"
    done
fi
[ -z "$need" ] && exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "missing system programs:$need (install them to run everything; what needs them is skipped)"; exit 0
fi
if [ "$(id -u)" = 0 ]; then sudo=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then sudo="sudo -n"
else echo "missing system packages:$need (install them to run everything; what needs them is skipped)"; exit 0
fi
echo "installing system packages:$need"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq >/dev/null 2>&1
# shellcheck disable=SC2086
$sudo apt-get install -y -qq --no-install-recommends $need >/dev/null 2>&1 \
    || echo "could not install:$need (what needs them is skipped)"
exit 0
