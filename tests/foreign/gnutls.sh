#!/bin/bash
# Builds the PKCS#11 tests that GnuTLS wrote for SoftHSM, from Debian's source package:   gnutls.sh DIRECTORY   leaves DIRECTORY/programs and
# DIRECTORY/tests/testpkcs11.sh, which take the module from SUITE_MODULE and its softhsm2-util from SUITE_UTIL.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/fetch.sh"

mkdir -p "$1"
cd "$1"
[ ! -e ready ] || exit 0
fetch "gnutls28=$(dpkg-query --show --showformat='${Version}' gnutls-bin)"

rm -rf tests programs src
cp -r source/tests tests
mkdir -p programs src
for tool in p11tool certtool gnutls-serv gnutls-cli; do ln -s "$(command -v $tool)" src/$tool; done

cd tests
# The URLs of the tests name SoftHSM's model and manufacturer.
sed -i -e 's#define LIB1 .*#define LIB1 getenv("SUITE_MODULE")#' -e 's#define SOFTHSM_BIN1 .*#define SOFTHSM_BIN1 getenv("SUITE_UTIL")#' \
  -e 's#objectstore.backend = file\\n#&identity = softhsm\\n#' pkcs11/softhsm.h
sed -i -e 's#^for i in /usr/lib64.*#ADDITIONAL_PARAM="--provider $SUITE_MODULE"\nfor i in; do#' -e 's#"/usr/bin/softhsm2-util"#"$SUITE_UTIL"#' \
  testpkcs11.softhsm
cat > config.h <<'CONFIG'
#define _GNU_SOURCE 1
#define ENABLE_PKCS11 1
#define HAVE_FORK 1
#define VERSION "0"
CONFIG
echo 'const char *side = "";' > side.c
build() {
  gcc -O0 -w -I. -I.. -I../source/lib -I../source/gl -o "../programs/$1" "pkcs11/$1.c" utils.c "${@:2}" -lgnutls -ldl -lpthread
}
for program in gnutls_pcert_list_import_x509_file gnutls_x509_crt_list_import_url pkcs11-chainverify pkcs11-combo pkcs11-ec-privkey-test \
  pkcs11-eddsa-privkey-test pkcs11-get-issuer pkcs11-import-with-pin pkcs11-is-known pkcs11-obj-import pkcs11-privkey \
  pkcs11-privkey-generate pkcs11-pubkey-import-ecdsa pkcs11-pubkey-import-rsa pkcs11-rsa-pss-privkey-test; do
  build $program
done
build tls-neg-pkcs11-key side.c
gcc -O0 -w -I. -o datefudge-check datefudge-check.c
touch ../ready
