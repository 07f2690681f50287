#!/bin/sh
# Gives a job `counterfoil`, built from the source that it is to trust, unless it has one; prints the directory to add to PATH.
#
# COUNTERFOIL_SOURCE   a checkout of Counterfoil's repository; by default the one that this file is in
# COUNTERFOIL_ROOT     where it is installed; by default ./.counterfoil-bin
#
# Builds with cargo, and takes the versions of Cargo.lock. Exit status: 0 there it is, 2 there is nothing to build it from, or it does not build.
set -eu

if found=$(command -v counterfoil); then
  dirname "$found"
  exit 0
fi
source=${COUNTERFOIL_SOURCE:-$(dirname "$0")/../..}
root=${COUNTERFOIL_ROOT:-$PWD/.counterfoil-bin}
if [ ! -f "$source/crates/cli/Cargo.toml" ]; then
  echo "error[counterfoil-missing]: no counterfoil in PATH, and $source is no checkout of its source: set COUNTERFOIL_SOURCE" >&2
  exit 2
fi
mkdir -p "$root"
root=$(cd "$root" && pwd)
# Not in the directory of the job: that may be the change's, and its rust-toolchain.toml would say which cargo it is that runs.
(cd "$source" && cargo install --quiet --locked --path crates/cli --root "$root" >&2) || exit 2
echo "$root/bin"
