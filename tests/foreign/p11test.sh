#!/bin/bash
# Builds SoftHSM 2.6.1's p11test, from Debian's source package, so that it loads the module named by P11TEST_MODULE at run
# time:   p11test.sh DIRECTORY   leaves DIRECTORY/p11test.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/fetch.sh"

mkdir -p "$1"
cd "$1"
[ ! -x p11test ] || exit 0
fetch softhsm2=2.6.1-2.1

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
for file in $lib/test/*.cpp $lib/common/log.cpp $lib/common/osmutex.cpp; do
  echo "$file"
done | xargs -P 2 -I{} sh -c 'g++ -O0 -w -DHAVE_CONFIG_H -I. -I'$lib' -I'$lib'/test -I'$lib'/common -I'$lib'/pkcs11 \
  -include cstdlib "-DP11M=getenv(\"P11TEST_MODULE\")" -c {} -o "$(basename {} .cpp).o"'
g++ -o p11test.new ./*.o -lcppunit -lcrypto -ldl -pthread
mv p11test.new p11test
