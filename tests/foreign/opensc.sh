#!/bin/bash
# Fetches the test scripts that OpenSC wrote for SoftHSM, from Debian's source package:   opensc.sh DIRECTORY   leaves DIRECTORY/tests, whose
# scripts take the module from SUITE_MODULE, and DIRECTORY/src, where they look for the installed pkcs11-tool.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/fetch.sh"

mkdir -p "$1"
cd "$1"
[ ! -e ready ] || exit 0
fetch "opensc=$(dpkg-query --show --showformat='${Version}' opensc)"

rm -rf tests src
cp -r source/tests tests
sed -i '/^softhsm_paths=/,/"$/c\softhsm_paths="$SUITE_MODULE"' tests/common.sh
mkdir -p src/tools
ln -s "$(command -v pkcs11-tool)" src/tools/pkcs11-tool
touch ready
