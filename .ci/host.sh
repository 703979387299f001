#!/usr/bin/env bash
# What CI needs around the project: Docker Engine (Debian's, 20.10), emulation of
# linux/arm64, Podman, a registry, skopeo, umoci, buildx, Compose, oras, cosign,
# mmdebstrap, Prometheus, Redis, Chromium, compilers for generated firmware and what runs it (simavr,
# MicroPython), Trivy, Syft, Helm (4, and 3 as helm3), kubectl, act, actionlint and Trivy's test
# database.
#
#   exports=$(.ci/host.sh up) && eval "$exports"   # install, start, reuse what is there
#   .ci/host.sh status                             # what there is; exit code 1 when not up
#   .ci/host.sh down                               # stop our own dockerd
#
# `up` prints `export …` lines on stdout and everything else on stderr. (Not
# `eval "$(…)"`: that would hide a failure.) It wants root, apt-get and a python3
# with pip; CI has 2 cores and at most 90 minutes, so a second `up` is a few checks.
#
# Environment: CI_HOST_DIR  folder of the engine's data, socket and logs, and of the
#                           tools; default ${TMPDIR:-/tmp}/accelerapp-ci
#              PYTHON       interpreter that fetches the tools; default python3
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname -- "$here")
dir=${CI_HOST_DIR:-${TMPDIR:-/tmp}/accelerapp-ci}
dir=$(realpath -m -- "$dir")
python=${PYTHON:-python3}

socket=$dir/docker.sock
pidfile=$dir/docker.pid
log=$dir/docker.log
host=unix://$socket
# Debian's own client: whatever else is on PATH may not fit an engine of 2021.
client=/usr/bin/docker

# The registry is for the tests to start, each its own; crun, conmon and
# fuse-overlayfs are what Podman cannot do without and only recommends, or picks.
# Prometheus, which brings promtool, is for the tests to start as well.
packages=(docker.io iptables qemu-user-static skopeo umoci docker-registry
  podman crun conmon fuse-overlayfs mmdebstrap arch-test prometheus chromium redis-server
  gcc g++ gcc-avr avr-libc arduino-core-avr simavr libsimavr-dev libelf-dev libffi8)
# Out of the next Debian's packages, because this one has none of them: programs
# that need only a C library; MicroPython needs a newer one, and gets it. They are unpacked
# into the folder, never installed.
next_debian=trixie
next_packages=(docker-buildx docker-compose oras cosign
  micropython libc6 libmbedcrypto16 libmbedtls21 libmbedx509-7)
libraries=usr/lib/x86_64-linux-gnu
declare -A next_programs=(
  [docker-buildx]=usr/libexec/docker/cli-plugins/docker-buildx
  [docker-compose]=usr/libexec/docker/cli-plugins/docker-compose
  [micropython]=usr/bin/micropython
  [libc6]=$libraries/ld-linux-x86-64.so.2
  [libmbedcrypto16]=$libraries/libmbedcrypto.so.16
  [libmbedtls21]=$libraries/libmbedtls.so.21
  [libmbedx509-7]=$libraries/libmbedx509.so.7
  [oras]=usr/bin/oras
  [cosign]=usr/bin/cosign
)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
start_timeout_s=60
stop_timeout_s=60
binfmt=/proc/sys/fs/binfmt_misc

say() { printf 'host.sh: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

retry() { # COMMAND…: three attempts, for what talks to the network
  local attempt
  for attempt in 1 2 3; do
    if "$@"; then return 0; fi
    say "attempt $attempt of 3 failed: $*"
    if ((attempt == 3)); then return 1; fi
    sleep $((attempt * 3))
  done
}

missing_packages() {
  local package
  for package in "${packages[@]}"; do
    if [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
      printf '%s\n' "$package"
    fi
  done
}

apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 \
    -o Dpkg::Use-Pty=0 "$@" >>"$dir/apt.log" 2>&1
}

install_packages() {
  local missing policy=/usr/sbin/policy-rc.d
  mapfile -t missing < <(missing_packages)
  if ((${#missing[@]} == 0)); then return 0; fi
  say "installing ${missing[*]}"
  # docker.io would start an engine of the whole machine, prometheus and redis a server
  # each; ours are the only ones wanted.
  if [[ ! -e $policy ]]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  if ! { retry apt update && retry apt install -y --no-install-recommends "${missing[@]}"; }; then
    tail -n 30 -- "$dir/apt.log" >&2
    die "could not install ${missing[*]}; all of it is in $dir/apt.log"
  fi
}

next_program() { # PACKAGE: where its program is once unpacked
  printf '%s\n' "$dir/$next_debian/$1/${next_programs[$1]}"
}

debian_mirror() { # the one that this machine's own packages come from
  local codename
  codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  apt-get indextargets --format "\$(REPO_URI) \$(RELEASE) \$(COMPONENT)" 'Created-By: Packages' |
    awk -v release="$codename" '$2 == release && $3 == "main" { print $1; exit }'
}

# No version and no hash is pinned: a mirror drops a package as soon as the next
# point release supersedes it, and a pin would then stop CI. What is fetched is
# vouched for by the archive's signature instead, checked by apt with Debian's own
# keyring, exactly as for the packages above; which version it was is said.
install_next_debian() {
  local package paths="" mirror version work=$dir/$next_debian missing=() options=() deb=()
  for package in "${next_packages[@]}"; do
    if [[ ! -e $(next_program "$package") ]]; then missing+=("$package"); fi
  done
  if ((${#missing[@]} > 0)); then
    mirror=$(debian_mirror)
    [[ -n $mirror ]] || die "apt knows no Debian mirror to take ${missing[*]} from: look at /etc/apt/sources.list.d"
    [[ -r $keyring ]] || die "no $keyring to check $next_debian with: install debian-archive-keyring"
    rm -rf -- "$work/apt"
    mkdir -p -- "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nArchitectures: amd64\nSigned-By: %s\n' \
      "$mirror" "$next_debian" "$keyring" >"$work/apt/next.sources"
    # A world of its own: the machine's lists and packages do not change.
    options=(-o "Dir::Etc::sourcelist=$work/apt/next.sources" -o Dir::Etc::sourceparts=/dev/null
      -o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache"
      -o Dir::State::status=/dev/null -o APT::Sandbox::User=root)
    say "taking ${missing[*]} from Debian's $next_debian"
    if ! retry apt "${options[@]}" -o APT::Update::Error-Mode=any update; then
      tail -n 10 -- "$dir/apt.log" >&2
      die "could not read the package lists of $next_debian from $mirror; all of it is in $dir/apt.log"
    fi
    for package in "${missing[@]}"; do
      rm -rf -- "${work:?}/$package" "$work/apt/deb" "$work/apt/unpacked"
      mkdir -- "$work/apt/deb"
      if ! (cd -- "$work/apt/deb" && retry apt "${options[@]}" download "$package"); then
        tail -n 10 -- "$dir/apt.log" >&2
        die "could not download $package of $next_debian; all of it is in $dir/apt.log"
      fi
      deb=("$work"/apt/deb/*.deb)
      version=$(dpkg-deb --field "${deb[0]}" Version)
      dpkg -x "${deb[0]}" "$work/apt/unpacked"
      if [[ ! -e $work/apt/unpacked/${next_programs[$package]} ]]; then
        die "$package $version of $next_debian has no ${next_programs[$package]}: correct next_programs in .ci/host.sh"
      fi
      printf '%s\n' "$version" >"$work/apt/unpacked/version"
      mv -- "$work/apt/unpacked" "$work/$package"
      say "unpacked $package $version"
    done
    rm -rf -- "$work/apt"
  fi
  for package in oras cosign; do
    ln -sfn -- "$(next_program "$package")" "$dir/bin/$package"
  done
  for package in libc6 libmbedcrypto16 libmbedtls21 libmbedx509-7; do
    paths+=:$work/$package/$libraries
  done
  # In one step: another run may be using it.
  printf '#!/bin/sh\nexec %q --library-path %q %q "$@"\n' \
    "$(next_program libc6)" "${paths#:}:/$libraries" "$(next_program micropython)" >"$dir/bin/.micropython"
  chmod 755 "$dir/bin/.micropython"
  mv -- "$dir/bin/.micropython" "$dir/bin/micropython"
  # As a plug-in of the client and not of the machine: DOCKER_CONFIG names the folder.
  mkdir -p -- "$dir/config/cli-plugins"
  for package in docker-buildx docker-compose; do
    ln -sfn -- "$(next_program "$package")" "$dir/config/cli-plugins/$package"
  done
  if [[ ! -e $dir/config/config.json ]]; then printf '{}\n' >"$dir/config/config.json"; fi
}

arm64_is_registered() { # with F: the kernel holds the interpreter open, so containers need no copy
  [[ -r $binfmt/qemu-aarch64 ]] && grep -q '^enabled' "$binfmt/qemu-aarch64" &&
    grep -q '^flags:.*F' "$binfmt/qemu-aarch64"
}

register_arm64() {
  local line
  if [[ ! -e $binfmt/register ]]; then
    mount -t binfmt_misc binfmt_misc "$binfmt" || die "the kernel has no binfmt_misc: linux/arm64 cannot run here"
  fi
  if arm64_is_registered; then return 0; fi
  if [[ -e $binfmt/qemu-aarch64 ]]; then
    say "replacing a registration of aarch64 that containers cannot use"
    printf -- '-1' >"$binfmt/qemu-aarch64"
  fi
  line=$(grep -m1 '^:qemu-aarch64:' /usr/lib/binfmt.d/qemu-aarch64.conf) ||
    die "qemu-user-static has no binfmt line for aarch64"
  printf '%s' "$line" >"$binfmt/register"
  arm64_is_registered || die "registered aarch64, and the kernel does not list it"
  say "registered aarch64 with binfmt_misc"
}

engine_pid() { # of our own dockerd, and of nothing else that may have got its number
  local pid
  pid=$(cat "$pidfile" 2>/dev/null) || return 1
  [[ $pid =~ ^[0-9]+$ ]] || return 1
  tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF -- "--pidfile=$pidfile" || return 1
  printf '%s\n' "$pid"
}

engine_answers() {
  timeout 10 "$client" -H "$host" version --format '{{.Server.Version}}' >/dev/null 2>&1
}

wait_for_engine() { # PID
  local deadline=$((SECONDS + start_timeout_s))
  until engine_answers; do
    if ! kill -0 "$1" 2>/dev/null || ((SECONDS >= deadline)); then
      say "dockerd did not answer within $start_timeout_s s; the end of $log:"
      tail -n 30 -- "$log" >&2
      return 1
    fi
    sleep 0.2
  done
}

start_engine() {
  local pid
  if pid=$(engine_pid); then
    wait_for_engine "$pid" || die "dockerd (pid $pid) runs and does not answer; try '.ci/host.sh down'"
    return 0
  fi
  rm -f -- "$pidfile" "$socket"
  printf '{}\n' >"$dir/daemon.json"
  say "starting dockerd; log in $log"
  # A file of its own, not the machine's daemon.json; a containerd namespace of
  # its own, should the machine run a containerd that dockerd finds and uses.
  # Descriptor 9 is the lock: the daemon must not keep it.
  setsid nohup /usr/sbin/dockerd \
    --config-file="$dir/daemon.json" \
    --host="$host" \
    --pidfile="$pidfile" \
    --data-root="$dir/docker" \
    --exec-root="$dir/exec" \
    --containerd-namespace=accelerapp-ci \
    --containerd-plugins-namespace=accelerapp-ci-plugins \
    </dev/null >"$log" 2>&1 9>&- &
  pid=$!
  if ! wait_for_engine "$pid"; then
    kill "$pid" 2>/dev/null || say "dockerd has ended"
    exit 1
  fi
}

stop_engine() {
  local pid deadline=$((SECONDS + stop_timeout_s))
  if ! pid=$(engine_pid); then
    say "no dockerd of ours is running"
    return 0
  fi
  kill "$pid"
  while kill -0 "$pid" 2>/dev/null; do
    ((SECONDS < deadline)) || die "dockerd (pid $pid) did not stop within $stop_timeout_s s"
    sleep 0.2
  done
  say "stopped dockerd"
}

prepare_trivy_database() {
  local file
  mkdir -p -- "$dir/trivy/db"
  for file in trivy.db metadata.json; do
    if ! cmp -s -- "$project/tests/data/trivy-db/$file" "$dir/trivy/db/$file"; then
      install -m 644 -- "$project/tests/data/trivy-db/$file" "$dir/trivy/db/$file"
    fi
  done
}

print_exports() {
  printf 'export DOCKER_HOST=%q\n' "$host"
  printf 'export DOCKER_CONFIG=%q\n' "$dir/config"
  printf "export PATH=%q:\"\$PATH\"\n" "$dir/bin"
  printf 'export TRIVY_CACHE_DIR=%q\n' "$dir/trivy"
}

up() {
  [[ $(uname -s)/$(uname -m) == Linux/x86_64 ]] || die "this provisions linux amd64 only"
  ((EUID == 0)) || die "'up' installs packages and starts dockerd: run it as root"
  command -v apt-get >/dev/null || die "'up' needs a Debian system: there is no apt-get"
  # Sockets below it must fit the kernel's 108 bytes.
  ((${#dir} <= 60)) || die "CI_HOST_DIR is ${#dir} characters long; at most 60: $dir"
  mkdir -p -- "$dir/bin"
  exec 9>"$dir/lock"
  flock -w 900 9 || die "another 'up' holds $dir/lock"
  install_packages
  install_next_debian
  register_arm64
  start_engine
  ln -sfn -- "$client" "$dir/bin/docker"
  "$python" "$here/tools.py" "$dir/bin" || die "could not install Trivy, Syft, Helm, kubectl, act and actionlint"
  prepare_trivy_database
  print_exports
}

row() { printf '%-22s %s\n' "$1" "$2"; }

version_of() { # COMMAND…: its first line, or that it is missing
  if command -v "$1" >/dev/null; then "$@" 2>/dev/null | head -n 1; else printf 'missing\n'; fi
}

status() {
  local code=0 pid other
  row "folder" "$dir"
  if pid=$(engine_pid) && engine_answers; then
    row "engine" "$("$client" -H "$host" version --format '{{.Server.Version}}') (pid $pid, $host)"
    row "engine storage" "$("$client" -H "$host" info --format '{{.Driver}}, cgroup v{{.CgroupVersion}}')"
  else
    row "engine" "not running (log: $log)"
    code=1
  fi
  if [[ -x $client ]]; then
    row "docker client" "$("$client" version --format '{{.Client.Version}}' 2>/dev/null || true) ($client, as $dir/bin/docker)"
  else
    row "docker client" "missing"
    code=1
  fi
  while IFS= read -r other; do
    if [[ ! $other -ef $client ]]; then
      row "  another client" "$("$other" version --format '{{.Client.Version}}' 2>/dev/null || true) ($other, not used)"
    fi
  done < <(type -ap docker)
  if arm64_is_registered; then row "linux/arm64" "emulated (qemu-aarch64)"; else
    row "linux/arm64" "not registered with binfmt_misc"
    code=1
  fi
  row "skopeo" "$(version_of skopeo --version)"
  row "umoci" "$(version_of umoci --version)"
  row "podman" "$(version_of podman --version)"
  row "registry" "$(version_of docker-registry --version)"
  row "mmdebstrap" "$(version_of mmdebstrap --version)"
  row "prometheus" "$(version_of prometheus --version)"
  row "promtool" "$(version_of promtool --version)"
  row "redis" "$(version_of redis-server --version)"
  row "avr-g++" "$(version_of avr-g++ --version)"
  row "chromium" "$(version_of chromium --version)"
  for other in "${next_packages[@]}"; do
    if [[ -e $(next_program "$other") ]]; then
      row "${other#docker-}" "$(<"$dir/$next_debian/$other/version") (Debian's $next_debian)"
    else
      row "${other#docker-}" "missing"
      code=1
    fi
  done
  row "trivy" "$(version_of "$dir/bin/trivy" --version --cache-dir "$dir/trivy")"
  row "syft" "$(version_of "$dir/bin/syft" --version)"
  row "helm" "$(version_of "$dir/bin/helm" version --short)"
  row "helm3" "$(version_of "$dir/bin/helm3" version --short)"
  row "kubectl" "$(version_of "$dir/bin/kubectl" version --client)"
  row "act" "$(version_of "$dir/bin/act" --version)"
  row "actionlint" "$(version_of "$dir/bin/actionlint" --version)"
  if [[ -s $dir/trivy/db/trivy.db ]]; then row "trivy test database" "$dir/trivy/db"; else
    row "trivy test database" "missing"
    code=1
  fi
  for other in skopeo umoci podman docker-registry mmdebstrap prometheus promtool chromium \
    redis-server g++ avr-g++ simavr "$dir/bin/trivy" "$dir/bin/syft" \
    "$dir/bin/helm" "$dir/bin/helm3" "$dir/bin/kubectl" "$dir/bin/act" \
    "$dir/bin/actionlint"; do
    command -v "$other" >/dev/null || code=1
  done
  return "$code"
}

case ${1:-} in
  up) up ;;
  down) stop_engine ;;
  status) status ;;
  *)
    say "usage: .ci/host.sh up | down | status"
    exit 2
    ;;
esac
