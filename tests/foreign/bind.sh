#!/bin/bash
# Builds BIND's dnssec tools with OpenSSL engines, from the source package of the installed version: Debian builds them
# without.   bind.sh DIRECTORY   leaves DIRECTORY/source/bin/dnssec/dnssec-*.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/fetch.sh"

mkdir -p "$1"
cd "$1"
[ ! -e ready ] || exit 0
fetch "bind9=$(dpkg-query --show --showformat='${Version}' bind9-utils)"

cd source
# BIND offers engines to programs that ask OpenSSL for its older interface.
CPPFLAGS=-DOPENSSL_API_COMPAT=10100 CFLAGS="-O0 -w" ./configure --disable-static --disable-doh --disable-linux-caps --disable-geoip \
  --without-lmdb --without-libxml2 --without-json-c --without-libidn2 --without-readline --without-gssapi --without-zlib --without-jemalloc
for part in lib/isc lib/dns lib/ns lib/isccc lib/isccfg lib/irs lib/bind9 bin/dnssec; do
  make -s -j2 -C $part
done
touch ../ready
