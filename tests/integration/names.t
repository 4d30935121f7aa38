#!/usr/bin/env bash
# A name server that never answers holds nobody longer than the connect timeout. It needs root, for a resolv.conf of its
# own in a mount namespace; without, there is nothing to see.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=tests/support/lib.sh
. "$root/tests/support/lib.sh"

if [ "$(id -u)" -ne 0 ] || ! unshare -m true 2>/dev/null || ! command -v socat >/dev/null; then
  echo "1..0 # SKIP needs root, unshare and socat"
  exit 0
fi

servers_up
migrate
timeout 60 socat -u UDP4-RECV:53,bind=127.0.0.53 /dev/null 2>"$T/socat.err" &
silent=$!
listening() { kill -0 $silent && grep -q ' 3500007F:0035 ' /proc/net/udp; }
wait_until 5 listening || bail "the silent name server does not start: $(cat "$T/socat.err")"
printf 'nameserver 127.0.0.53\noptions timeout:30 attempts:3\n' >"$T/resolv.conf"

# lost COMMAND...: in a world whose name server is silent; prints how long it took, ms
lost() {
  local began
  began=$(now_ms)
  unshare -m sh -c "mount --bind '$T/resolv.conf' /etc/resolv.conf && exec \"\$@\"" sh "$@" >"$T/out" 2>"$T/err" || true
  echo $(($(now_ms) - began))
}

took=$(BOOKING_CONNECT_TIMEOUT_MS=1000 REDIS_URL=redis://redis.example.net:6379 lost "$bin/bookingctl" status)
ok "bookingctl gives up after its connect timeout of 1 s ($took ms)" test "$took" -ge 900 -a "$took" -le 4000
like "$(cat "$T/err")" 'looking up the name' 'and says what took so long'

took=$(lost "$bin/bookingctl" status)
ok "numeric addresses need no name server ($took ms)" test "$took" -le 900
kill $silent || true
done_testing
