#!/usr/bin/env bash
# Fetches freely licensed photographs from Debian packages into a folder, for `rl3dedit pretrain --photos FOLDER`. They are
# training data only: nothing of them is part of this package. Needs apt-get and dpkg-deb; installs nothing.
set -euo pipefail
out="${1:?usage: scripts/fetch-photos.sh FOLDER}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
out="$(cd "$out" && pwd)"
cd "$work"
# Licences (debian/copyright of each): mate-backgrounds CC-BY-SA and GPL-2+, plasma-workspace-wallpapers CC-BY-SA-3.0/4.0 and
# LGPL-3, lomiri-wallpapers CC-BY-SA.
apt-get download mate-backgrounds plasma-workspace-wallpapers lomiri-wallpapers-16.04 lomiri-wallpapers-20.04
for package in *.deb; do dpkg-deb -x "$package" unpacked; done
# Drawn wallpapers and previews are left out: photographs only.
drawn='screenshot|/desktop/|/abstract/|/(Flow|Volna|PastelHills|SafeLanding|Honeywave|Shell)/|Painting|Infinite-Sea'
count=0
while IFS= read -r -d '' picture; do
  name="${picture#unpacked/usr/share/}"
  cp "$picture" "$out/${name//[^A-Za-z0-9.]/_}"
  count=$((count + 1))
done < <(find unpacked/usr/share -iname '*.jpg' -size +60k -print0 | grep -zEv "$drawn")
echo "$count photographs in $out"
