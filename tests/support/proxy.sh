# shellcheck shell=bash
# The fault proxy (tests/faults/proxy), for tests that put one between the programs and their servers. Comes after lib.sh.
#   proxy_up pg pg "127.0.0.1:$PGPORT"
#   tell pg cut side=client at=1 when=after how=rst from=commit
#   ... what is to survive it, over ${proxy_port[pg]} ...
#   ok 'it fired' tell pg wait-fired 1 5000
# shellcheck disable=SC2004,SC2034,SC2154 # bin, helper_pid and status are lib.sh's and the caller's

# test_program NAME: the path of something that is built for the tests
test_program() {
  local path=${bin%/bin}/tests/$1
  [ -e "$path" ] || bail "no $path: build first"
  echo "$path"
}

proxy_program=${bin%/bin}/tests/fault-proxy
declare -A proxy_port=()

# proxy_up NAME PROTOCOL UPSTREAM [OPTION...]: instead of an older one of that name; its port is ${proxy_port[NAME]}, its log $T/NAME.proxy.log
proxy_up() {
  local name=$1 said=$T/$1.proxy.out
  test_program fault-proxy >/dev/null
  [ -z "${helper_pid[$name]:-}" ] || proxy_down "$name"
  rm -f "$said"
  "$proxy_program" --protocol "$2" --listen 0 --upstream "$3" --control "$T/$name.ctl" --log "$T/$name.proxy.log" "${@:4}" \
    </dev/null >"$said" 2>&1 &
  helper_pid[$name]=$!
  wait_until 10 grep -q '^listening on ' "$said" || bail "proxy $name does not come up: $(cat "$said")"
  proxy_port[$name]=$(sed -n 's/^listening on .*://p' "$said")
}

# proxy_down NAME: sets `status` to its exit code
proxy_down() {
  status=0
  kill -TERM "${helper_pid[$1]}"
  wait "${helper_pid[$1]}" || status=$?
  unset "helper_pid[$1]"
}

# tell NAME COMMAND...: what it answers
tell() { "$proxy_program" --tell "$T/$1.ctl" "${@:2}"; }

# stat_of NAME WORD: one number of its statistics
stat_of() { tell "$1" stats | tr ' ' '\n' | sed -n "s/^$2=//p"; }

# arm NAME cut|delay|flip ...: and has_fired NAME SECONDS waits until that has happened
declare -A proxy_fired=()
arm() {
  proxy_fired[$1]=$(stat_of "$1" fired)
  tell "$@" >"$T/$1.answer" || bail "the proxy refuses: $(cat "$T/$1.answer")"
}
has_fired() { tell "$1" wait-fired $((proxy_fired[$1] + 1)) $(($2 * 1000)); }
