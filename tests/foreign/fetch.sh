# Fetches the upstream archive of a Debian source package from the mirrors that this machine uses; sourced by its neighbours.
#
#   fetch PACKAGE[=VERSION]      leaves the archive's contents in ./source
#
# The machine's own package sources may lack source packages: a configuration of our own adds them, for this fetch only.
# apt checks the archive against the distribution's signed index.

fetch() {
  mkdir -p apt/lists/partial apt/cache/archives/partial archive
  apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(CODENAME)' 'Created-By: Packages' | sort -u |
    sed -n 's#^Debian \([^ ]*\) \([^ ]*\)$#deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \1 \2 main#p' \
    > apt/sources.list
  [ -s apt/sources.list ] || { echo "no Debian mirror is configured on this machine" >&2; return 1; }
  local apt=(apt-get -q -o Dir::Etc::sourcelist="$PWD/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
             -o Dir::State::lists="$PWD/apt/lists" -o Dir::Cache="$PWD/apt/cache")
  [ "$(id -u)" != 0 ] || apt+=(-o APT::Sandbox::User=root)
  "${apt[@]}" update
  (cd archive && "${apt[@]}" --download-only --tar-only source "$1")
  rm -rf source
  mkdir source
  tar -xf archive/*.orig.tar.* -C source --strip-components=1
}
