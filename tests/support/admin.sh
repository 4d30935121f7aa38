# shellcheck shell=bash disable=SC2154,SC2034 # what lib.sh sets and reads
# What the tests of booking-admin share: a server with three tokens, and a queue with something to look at.
# Source lib.sh first.

operator_token=operator-0123456789abcdef0123456789 second_token=second-0123456789abcdef0123456789
viewer_token=viewer-0123456789abcdef0123456789
admin_url=''

# admin_up: sets admin_url; its log is $T/admin.log
admin_up() {
  local port
  port=$(free_port)
  admin_url=http://127.0.0.1:$port
  (umask 077 && printf '%s\n' '# name role token' "olga operator $operator_token" "otto operator $second_token" "vera viewer $viewer_token" >"$T/tokens")
  # shellcheck disable=SC2093 # in a subshell of its own
  (exec env BOOKING_ADMIN_LISTEN="127.0.0.1:$port" BOOKING_ADMIN_TOKEN_FILE="$T/tokens" BOOKING_LOG_FORMAT=json \
    "$bin/booking-admin") </dev/null >>"$T/admin.log" 2>&1 &
  worker_pid[admin]=$!
  wait_until 20 curl -sf -m 2 -o /dev/null "$admin_url/" || { diag "$(cat "$T/admin.log")" && bail 'booking-admin does not come up'; }
}

uuid_of() { printf '%08d-0000-4000-8000-%012d' "$1" "$1"; }

# create N RESOURCE [EXTRA]: a line for `bookingctl enqueue`
create_line() {
  printf '{"id":"web-%d","kind":"booking.create","args":{"booking_id":"%s","resource_id":%d,"customer_id":42,"starts_at":"2030-03-%02dT10:00:00Z","ends_at":"2030-03-%02dT11:00:00Z"}%s}\n' \
    "$1" "$(uuid_of "$1")" "$2" $((1 + $1 % 28)) $((1 + $1 % 28)) "${3:-}"
}

hostile='<script>window.owned=1</script><img src=x onerror=window.owned=1>'

# fill_queue: good bookings, and dead letters of several kinds, hostile ones among them
fill_queue() {
  local n
  {
    for n in {1..40}; do create_line "$n" "$n"; done
    for n in {41..52}; do create_line "$n" 1 | sed 's/"customer_id":42/"customer_id":"forty-two"/'; done
    for n in {53..58}; do create_line "$n" 1 | sed 's/booking.create/booking.refund/'; done
    for n in {59..64}; do create_line "$n" 1 ',"expires_at":1000'; done
    for n in {1..4}; do create_line "$n" 39; done # an id used before for something else
  } | ctl enqueue - >/dev/null
  redis xadd "$(key inbox)" '*' id "bad id" kind booking.create key x args "$hostile" >/dev/null
  redis xadd "$(key inbox)" '*' id hostile-kind kind "$hostile" key k1 args '{}' >/dev/null
  redis xadd "$(key inbox)" '*' id hostile-ansi kind booking.cancel key k2 args $'{"note":"\e[31mred\e[0m \xe2\x80\xaegnp.exe"}' >/dev/null
  redis -x xadd "$(key inbox)" '*' id hostile-big kind booking.cancel key k3 args < <(printf '{"note":"%s"}' "$(head -c 65000 /dev/zero | tr '\0' 'x')") >/dev/null
}

# fill_lines: keys that wait for one another, held up by a job that is not due before the next retry
fill_lines() {
  local n
  for n in 1 2 3; do
    redis hset "$(key "job:17000000000$n-0")" id "held-$n" kind booking.confirm key "$(uuid_of "$n")" args '{}' state retry error 'deadlock detected' >/dev/null
    redis zadd "$(key retry)" $(($(now_ms) + 3600000)) "17000000000$n-0" >/dev/null
    redis hset "$(key gate)" "$(uuid_of "$n")" 1 >/dev/null
    printf '{"id":"behind-%d-a","kind":"booking.confirm","args":{"booking_id":"%s"}}\n{"id":"behind-%d-b","kind":"booking.cancel","args":{"booking_id":"%s"}}\n' \
      "$n" "$(uuid_of "$n")" "$n" "$(uuid_of "$n")"
  done | ctl enqueue - >/dev/null
}

# feed: a stream of good bookings, until killed
feed() {
  local n=1000 i size
  while :; do
    size=$((RANDOM % 30 + 5))
    for ((i = n; i < n + size; i++)); do
      create_line $i $((i % 40 + 1)) | sed "s/2030-03/$((2031 + i / 1120 % 100))-0$((i / 40 % 9 + 1))/g"
    done | ctl enqueue - >/dev/null
    n=$((n + size))
    sleep 0.7
  done
}
