#!/bin/bash
# Fetches SoftHSM 2.6.1's source package from the Debian mirror that this machine uses and builds its p11test so that it
# loads the module named by P11TEST_MODULE at run time:   build.sh DIRECTORY   leaves DIRECTORY/p11test.
set -euo pipefail

directory=$1
version=2.6.1
checksum=ac9ac1e3f4402f88bf3e626a18f070f8031c031947ed469c6e17482495ec72b6
archive=softhsm2_$version.orig.tar.gz

mkdir -p "$directory"
cd "$directory"
[ ! -x p11test ] || exit 0

# The machine's own package sources may lack source packages: a configuration of our own adds them, for this fetch only.
if ! echo "$checksum  $archive" | sha256sum --check --status 2>/dev/null; then
  mkdir -p apt/lists/partial apt/cache/archives/partial
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
  [ -n "$mirror" ] || { echo "no Debian bookworm mirror is configured on this machine" >&2; exit 1; }
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm main" > apt/sources.list
  apt=(apt-get -q -o Dir::Etc::sourcelist="$PWD/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
       -o Dir::State::lists="$PWD/apt/lists" -o Dir::Cache="$PWD/apt/cache" -o APT::Sandbox::User=root)
  "${apt[@]}" update
  "${apt[@]}" --download-only --tar-only source softhsm2=$version-2.1
  echo "$checksum  $archive" | sha256sum --check
fi
rm -rf source
mkdir source
tar -xf "$archive" -C source --strip-components=1

# What upstream's configure finds with Debian's OpenSSL: everything but GOST.
cat > config.h <<'CONFIG'
#define WITH_ECC 1
#define WITH_EDDSA 1
#define WITH_RAW_PSS 1
#define HAVE_AES_KEY_WRAP 1
#define HAVE_AES_KEY_WRAP_PAD 1
#define HAVE_PTHREAD_H 1
CONFIG

# P11M is upstream's own switch for a module loaded at run time; it expects a file name, and gets an expression for one.
lib=source/src/lib
objects=()
compile() {
  g++ -O0 -w -DHAVE_CONFIG_H -I. -I$lib -I$lib/test -I$lib/common -I$lib/pkcs11 \
    -include cstdlib '-DP11M=getenv("P11TEST_MODULE")' -c "$1" -o "$2"
}
for source in $lib/test/*.cpp $lib/common/log.cpp $lib/common/osmutex.cpp; do
  object=$(basename "$source" .cpp).o
  compile "$source" "$object" &
  objects+=("$object")
  # Two at a time: enough for the machines that run this.
  [ $(( ${#objects[@]} % 2 )) != 0 ] || wait
done
wait
g++ -o p11test.new "${objects[@]}" -lcppunit -lcrypto -ldl -pthread
mv p11test.new p11test
