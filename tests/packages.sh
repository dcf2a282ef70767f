# Sourced by scripts that set a Debian machine up.

# install_packages NAME ...: install what is missing, as root or through sudo.
install_packages() {
    if ! command -v apt-get > /dev/null; then
        echo "No apt-get here: please install what corresponds to: $*" >&2
        return 0
    fi
    missing=
    for package; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null) || status=
        [ "$status" = installed ] || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    root=
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo > /dev/null; then
            echo "Please install as root:$missing" >&2
            return 1
        fi
        root=sudo
    fi
    # No quotes: one word for each package, and no word at all where sudo is not needed.
    $root env DEBIAN_FRONTEND=noninteractive apt-get update -q
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
}

# What the libraries and the program are built with.
BUILD_PACKAGES="meson ninja-build gcc libc6-dev pkg-config libopenblas-dev libjansson-dev
    libprotobuf-c-dev protobuf-c-compiler python3"
