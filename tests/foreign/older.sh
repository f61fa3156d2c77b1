#!/bin/bash
# Builds an older version of this project, for the test of upgrades:   older.sh DIRECTORY   leaves libhsmpool.so, hsmpool and hsmpoold there.
# The version is the first whose pool is promised to work beside newer ones; the repository must have its history.
set -euo pipefail
commit=8dd0ad5

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mkdir -p "$1"
# What was built is kept, with the commit of which it is: another one here, or a build that broke off, is built anew.
[ "$(cat "$1/commit" 2>/dev/null)" != "$commit" ] || exit 0
rm -rf "$1/commit" "$1/source"
mkdir "$1/source"
git archive "$commit" | tar -x -C "$1/source"
cd "$1/source"
CARGO_TARGET_DIR="$1/target" CARGO_PROFILE_RELEASE_LTO=off cargo build --release --locked --lib --bins
cp "$1/target/release/libhsmpool.so" "$1/target/release/hsmpool" "$1/target/release/hsmpoold" "$1"
rm -rf "$1/target"
echo "$commit" > "$1/commit.new"
mv "$1/commit.new" "$1/commit"
