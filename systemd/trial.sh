# What the trials share: this checkout is installed the way the head of rollbackd.service says, and everything is taken away again.
# Sourced by try-unit and try-platforms, from the root of the checkout.
opt=/opt/rollbackd etc=/etc/rollbackd state=/var/lib/rollbackd unit=/etc/systemd/system/rollbackd.service

say() { printf '· %s\n' "$*"; }
fail() {
  printf 'NOT so: %s\n' "$*" >&2
  [ -z "${incident:-}" ] || { rollbackd explain "$incident"; rollbackd logs "$incident"; } >&2
  exit 1
}
is() { systemctl show --value --property "$1" rollbackd; }
until_true() { # WHAT SECONDS COMMAND…: asked again and again
  what=$1 left=$(($2 * 5)); shift 2
  until "$@"; do [ $((left -= 1)) -gt 0 ] || fail "$what"; sleep 0.2; done
  say "$what"
}
rollbackd() { "$opt/bin/rollbackd" "$@"; }
newest() { rollbackd list --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["items"][0]["id"])'; }

work=$(mktemp -d) helpers=
take_away_more() { :; } # a trial may have more to take away
clean_up() {
  code=$?
  trap - EXIT
  [ "$code" = 0 ] || journalctl --unit rollbackd --output cat --no-pager --lines 40 >&2 || true
  systemctl disable --quiet --now rollbackd 2>/dev/null || true
  for pid in $helpers; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done
  rm -rf "$opt" "$etc" "$unit" "$unit.d" "$(readlink -f "$state")" "$state"
  take_away_more
  systemctl daemon-reload
  systemctl reset-failed rollbackd 2>/dev/null || true
  rm -rf "$work"
  exit "$code"
}

install_rollbackd() {
  [ "$(id -u)" = 0 ] || fail "this is run by root"
  [ -d /run/systemd/system ] || fail "systemd runs this machine"
  for path in "$opt" "$etc" "$state" "$unit"; do [ ! -e "$path" ] || fail "rollbackd is not installed yet (there is $path)"; done
  trap clean_up EXIT
  trap 'exit 130' INT TERM
  say "installing into $opt"
  python3 -m venv "$opt"
  "$opt/bin/pip" install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.txt
  "$opt/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation .
  install -d -m 755 "$etc" "$etc/runbooks"
  install -d -m 700 "$etc/credentials"
  install -m 644 systemd/rollbackd.service "$unit"
  for name in $(sed -n 's/^LoadCredential=\(.*\):.*/\1/p' "$unit"); do
    (umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' ' >"$etc/credentials/$name")
  done
  export ROLLBACKD_TOKEN_FILE="$etc/credentials/oncall.token" NO_COLOR=1
}
