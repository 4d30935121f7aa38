# shellcheck shell=bash
# The fault proxy for scenarios: proxies by name, each told what to do. Needs lib.sh.
#   proxy_up NAME pg|resp HOST:PORT    its port is ${proxy_port[NAME]}; an older one of that name ends
#   tell NAME COMMAND...               see fault-proxy --help
declare -A proxy_port=()

# test_program NAME: the path of something that is built for the tests
test_program() {
  local path=${bin%/bin}/tests/$1
  [ -e "$path" ] || bail "no $path: build the preset faults"
  echo "$path"
}

proxy_up() {
  local name=$1 program
  program=$(test_program fault-proxy)
  proxy_down "$name"
  "$program" --protocol "$2" --listen 127.0.0.1:0 --upstream "$3" --control "$T/proxy.$name" --seed "${seed:-1}" \
    </dev/null >"$T/proxy.$name.port" 2>>"$T/proxy.$name.err" &
  worker_pid[proxy-$name]=$! # so that it ends with the test, whatever happens
  wait_until 10 grep -q listening "$T/proxy.$name.port" || bail "no proxy: $(cat "$T/proxy.$name.err")"
  proxy_port[$name]=$(sed -n 's/^listening on .*://p' "$T/proxy.$name.port")
}

proxy_down() {
  [ -n "${worker_pid[proxy-$1]:-}" ] || return 0
  kill_worker "proxy-$1"
}

tell() { "$(test_program fault-proxy)" --tell "$T/proxy.$1" "${@:2}"; }

# arm NAME cut|delay|flip ...: and has_fired NAME SECONDS waits until that has happened
declare -A proxy_fired=()
arm() {
  proxy_fired[$1]=$(tell "$1" stats | grep -o 'fired=[0-9]*' | cut -d= -f2)
  tell "$@" >"$T/proxy.answer" || bail "the proxy refuses: $(cat "$T/proxy.answer")"
}
has_fired() { tell "$1" wait-fired $((proxy_fired[$1] + 1)) $(($2 * 1000)); }
