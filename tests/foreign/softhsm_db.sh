#!/bin/bash
# Builds SoftHSM 2.6.1 from Debian's source package with its SQLite backend, which Debian's own binary package leaves out:
#   softhsm_db.sh DIRECTORY   leaves DIRECTORY/libsofthsm2.so.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/fetch.sh"

mkdir -p "$1"
cd "$1"
[ ! -e libsofthsm2.so ] || exit 0
fetch softhsm2=2.6.1-2.1

cd source
CXXFLAGS="-O0 -w -include cstdlib" ./configure --with-objectstore-backend-db --disable-gost --disable-non-paged-memory --quiet
for part in common crypto data_mgr handle_mgr object_store session_mgr slot_mgr; do
  make -C src/lib/$part -j2 --silent libsofthsm_${part//_/}.la
done
make -C src/lib --silent libsofthsm2.la
cp src/lib/.libs/libsofthsm2.so ../libsofthsm2.so.new
mv ../libsofthsm2.so.new ../libsofthsm2.so
