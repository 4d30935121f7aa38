#!/usr/bin/env bash
# The fault proxy itself: it changes nothing until told to, and then does what it was told, where it was told, once.
# shellcheck disable=SC2016 # in RESP, $5 is the length of a string
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/lib.sh
. "$(dirname "$0")/../support/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../support/proxy.sh
. "$(dirname "$0")/../support/proxy.sh"
export LC_ALL=C # for what cat says
servers_up
sql 'create table note (id text primary key)'
redis_port=${REDIS_URL##*:}

proxy_up pg pg "127.0.0.1:$PGPORT"
proxy_up resp resp "127.0.0.1:$redis_port"

sql_by() { psql -XAtq -v ON_ERROR_STOP=1 "host=127.0.0.1 port=${proxy_port[pg]} dbname=booking user=postgres" "$@"; }
redis_by() { redis-cli -h 127.0.0.1 -p "${proxy_port[resp]}" "$@"; }
has_note() { [ "$(sql "select count(*) from note where id = '$1'")" = 1 ]; }
exists() { redis exists "$1"; }
stat_is() { [ "$(stat_of "$1" "$2")" = "$3" ]; }

# --- one connection, by hand

wire=''
dial() { exec {wire}<>"/dev/tcp/127.0.0.1/${proxy_port[$1]}"; } # dial NAME
say() { printf '%b' "$1" >&"$wire"; }
hear() { # a line, or nothing within 5 s
  local line=''
  IFS= read -r -t 5 line <&"$wire" || true
  printf '%s' "${line%$'\r'}"
}
hang_up() { exec {wire}>&-; }

# ending EXPECTED: how the connection ends for its client; what came before is in $T/rest
ending() {
  local status=0 patience=5
  [ "$1" != silence ] || patience=0.5
  timeout $patience cat <&"$wire" >"$T/rest" 2>"$T/why" || status=$?
  case $status in
    0) echo fin ;;
    124) echo silence ;;
    *) if grep -q 'Connection reset by peer' "$T/why"; then echo rst; else cat "$T/why"; fi ;;
  esac
}
rest() { tr -d '\r\n' <"$T/rest"; }

# --- the program

is "$("$proxy_program" --version | cut -d' ' -f1)" fault-proxy '--version'
ok '--help tells of every command' grep -q wait-fired <("$proxy_program" --help)
is "$(exit_code "$proxy_program" --bogus)" 64 'an unknown option is a usage error'
like "$(cat "$T/err")" 'unknown option --bogus' 'and is named'
is "$(exit_code "$proxy_program" --protocol pg --listen 0 --control "$T/x.ctl")" 64 'so is a missing one'
like "$(cat "$T/err")" 'missing: --upstream' 'which is named, too'
is "$(exit_code "$proxy_program" --protocol http --listen 0 --upstream 127.0.0.1:1 --control "$T/x.ctl")" 64 'a protocol it does not know'
is "$(exit_code "$proxy_program" --protocol pg --listen nowhere --upstream 127.0.0.1:1 --control "$T/x.ctl")" 64 'an address that is none'
is "$(exit_code "$proxy_program" --tell "$T/nobody.ctl" stats)" 69 'nobody listens'
is "$(exit_code "$proxy_program" --protocol raw --listen 0 --upstream 127.0.0.1:1 --control "$T/pg.ctl")" 69 'a control socket that is in use'
like "$(cat "$T/err")" 'in use' 'and why'

# --- wrong commands are refused by name

refused() { # refused COMMAND REGEX
  is "$(exit_code tell pg "$1")" 65 "refused: $1"
  like "$(cat "$T/err")" "$2" "  because: $2"
}
refused 'explode' '^error unknown command "explode"$'
refused '' '^error a command is missing$'
refused 'cut' '^error side= is missing$'
refused 'cut side=middle' '^error side: "middle" is none of client.server$'
refused 'cut side=client at=0' '^error at: "0" is no number from 1'
refused 'cut side=client at=1 when=before how=gently' '^error how: "gently" is none of rst.fin.silence$'
refused 'cut side=client at=1 when=before how=rst from=' '^error from is empty$'
refused 'cut side=client side=client' '^error side is given twice$'
refused 'cut side=client at=1 when=before how=rst color=red' '^error unknown setting "color=red"$'
refused 'delay side=client at=1' '^error ms= is missing$'
refused 'flip side=client at=1 bit=8' '^error bit: "8" is no number from 0 to 7$'
refused 'latency' '^error usage: latency MS'
refused 'latency -1' '^error MS: "-1" is no number'
refused 'blackhole sideways' '^error blackhole: "sideways" is none of up.down.both.off$'
refused 'refuse perhaps' '^error refuse: "perhaps" is none of on.off$'
refused 'upstream here' '^error "here": expected HOST:PORT or unix:PATH$'
refused 'trace from="a b' '^error a quotation mark is missing$'
refused 'trace show' '^error no trace is wanted$'
refused 'wait-fired one 2' '^error N: "one" is no number'
is "$(stat_of pg armed)" 0 'and nothing of it is armed'

# --- it changes nothing

rows="select repeat(md5(g::text), 40) || g from generate_series(1, 8000) g"
is "$(sql_by -c "$rows" | md5sum)" "$(sql "$rows" | md5sum)" 'ten megabytes of rows come through unchanged'
is "$(sql_by -c "select md5(repeat('0123456789abcdef', 500000)), length('$(printf 'x%.0s' {1..100000})')")" \
  "$(sql "select md5(repeat('0123456789abcdef', 500000))")|100000" 'and a long statement'
sql 'create table big (line text)'
sql "$rows" >"$T/rows"
sql_by -c '\copy big from pstdin' <"$T/rows"
is "$(sql 'select count(*), md5(string_agg(line, null order by line)) from big')" \
  "$(sql "select count(*), md5(string_agg(line, null order by line)) from ($rows) as r (line)")" 'ten megabytes go in unchanged'
head -c 5000000 /dev/urandom >"$T/blob"
redis_by -x set blob <"$T/blob" >/dev/null
head -c -1 < <(redis_by --raw get blob) >"$T/blob.back"
ok 'a binary value of five megabytes comes back unchanged' cmp "$T/blob" "$T/blob.back"
cat "$T"/blob{,,,,} >"$T/blobs" # more than it holds of a message whose text is looked for
tell resp cut side=client at=1 when=before how=rst from='in none of them' >/dev/null
redis_by -x set blobs <"$T/blobs" >/dev/null
is "$(redis strlen blobs) $(stat_of resp armed)" '25000000 1' 'one of 25 megabytes comes through while a text is looked for'
tell resp heal >/dev/null
redis del blobs >/dev/null
for ((i = 0; i < 20000; i++)); do printf 'INCRBY pipelined %d\r\n' $i; done >"$T/commands"
before=$(stat_of resp client_messages)
like "$(redis_by --pipe <"$T/commands")" 'errors: 0, replies: 20000' '20,000 pipelined commands are answered'
is "$(redis get pipelined)" $((20000 * 19999 / 2)) 'each once'
is $(($(stat_of resp client_messages) - before)) 20002 'and counted, with the two that redis-cli --pipe puts behind them'
wait_until 5 stat_is resp open 0 || true
is "$(stat_of resp open) $(stat_of resp held)" '0 0' 'nothing is left of it'

# --- what a conversation consists of

tell pg trace from='from note' >/dev/null
is "$(exit_code tell pg trace show)" 65 'a trace that has not begun is none'
sql_by -c "insert into note values ('t1'), ('t2'), ('t3')"
sql_by -c "select id from note" >/dev/null
is "$(tell pg trace show)" 'ok client Q server T D D D C Z' 'a simple query'
pgbench=$(find /usr/lib/postgresql/*/bin/pgbench | sort -V | tail -n 1)
echo "select id from note order by id limit 2;" >"$T/script"
tell pg trace from='limit 2' >/dev/null
"$pgbench" -h 127.0.0.1 -p "${proxy_port[pg]}" -U postgres -n -M extended -t 1 -f "$T/script" booking >"$T/pgbench" 2>&1 ||
  bail "$(cat "$T/pgbench")"
is "$(tell pg trace show)" 'ok client P B D E S server 1 2 T D D C Z' 'the extended protocol'
tell pg trace from='begin' >/dev/null
sql_by -c 'begin' -c "delete from note" -c 'commit'
is "$(tell pg trace show)" 'ok client Q Q Q server C Z C Z C Z' 'a transaction is idle when it is over'
tell resp trace from=EXEC >/dev/null
dial resp
say 'MULTI\r\nSET a 1\r\n'
hear >/dev/null
hear >/dev/null
say 'EXEC\r\n'
hear >/dev/null
hear >/dev/null
hang_up
is "$(tell resp trace show)" 'ok client i server *' 'RESP: an array is one message'

# --- cuts, as the client sees them, and what has reached the server

before=$(stat_of resp fired)
for side in client server; do
  for when in before after; do
    for how in rst fin silence; do
      name=$side-$when-$how
      tell resp cut side=$side at=1 when=$when how=$how from="$name" >/dev/null
      dial resp
      say 'PING\r\n'
      is "$(hear)" +PONG "$name: nothing happens before its text"
      say "*3\\r\\n\$3\\r\\nSET\\r\\n\$${#name}\\r\\n$name\\r\\n\$1\\r\\n1\\r\\n"
      is "$(ending $how)" $how "$name: the client sees it"
      is "$(rest)" "$([ $side-$when != server-after ] || echo +OK)" "$name: after what it may see"
      is "$(exists "$name")" "$([ $side-$when = client-before ] && echo 0 || echo 1)" "$name: the server has done what it was told"
      hang_up
    done
  done
done
is $(($(stat_of resp fired) - before)) 12 'twelve have fired'
is "$(stat_of resp armed)" 0 'none is left'
is "$(redis_by ping)" PONG 'and the next connection is as good as ever'

for how in rst fin silence; do
  for where in 'client before' 'client after' 'server before'; do
    name=${where/ /-}-$how
    tell pg cut side="${where% *}" at=1 when="${where#* }" how=$how from="$name" >/dev/null
    is "$(timeout "$([ $how = silence ] && echo 2 || echo 10)" psql -XAtq "host=127.0.0.1 port=${proxy_port[pg]} dbname=booking user=postgres" \
      -c "insert into note values ('$name') returning 'answered'" 2>/dev/null)" '' "PostgreSQL, $name: no answer"
    ok "PostgreSQL, $name: it fired" tell pg wait-fired 1 1000
    if [ "$where" = 'client before' ]; then
      ok "PostgreSQL, $name: not written" test "$(sql "select count(*) from note where id = '$name'")" = 0
    else
      ok "PostgreSQL, $name: written" wait_until 5 has_note "$name"
    fi
  done
done
is "$(stat_of pg fired)" 9 'nine have fired'

tell pg heal >/dev/null
tell pg cut side=server at=3 when=before how=fin from=third >/dev/null
is "$(sql_by -c "select 'third'" 2>/dev/null || true)" '' 'before the third message (T D C Z) the row is not complete'
tell pg cut side=server at=3 when=after how=rst from=third >/dev/null
is "$(sql_by -c "select 'third'" 2>/dev/null || true)" third 'after it, it is'
tell pg cut side=client at=2 when=before how=rst from='two begin' >/dev/null
sql_by -c "insert into note values ('two begin')" -c "insert into note values ('second')" >/dev/null 2>&1 || true
is "$(sql "select string_agg(id, ',') from note where id in ('two begin', 'second')")" 'two begin' \
  'before the second message of the client the first has been done'

tell resp cut side=client at=1 when=before how=fin from=twice times=2 >/dev/null
is "$(stat_of resp armed)" 2 'times=2 is armed twice'
for expected in fin fin silence; do
  dial resp
  say 'ECHO twice\r\n'
  is "$(ending $expected)" $expected "times=2: $expected"
  hang_up
done
is "$(stat_of resp armed)" 0 'then it is over'

tell resp heal >/dev/null # what is silent is open
tell resp cut side=client at=3 when=before how=rst from=short >/dev/null
dial resp
say 'ECHO short\r\n'
is "$(hear)" '$5' 'a connection that ends before its third message'
hang_up
wait_until 5 stat_is resp open 0 || true
is "$(stat_of resp armed)" 1 'gives the cut back'
is "$(exit_code tell resp wait-fired $(($(stat_of resp fired) + 1)) 50)" 65 'which has not fired'
like "$(cat "$T/err")" '^error fired=' 'as is said'
tell resp heal >/dev/null
is "$(stat_of resp armed)" 0 'heal disarms'

dial resp
before=$(stat_of resp fired)
tell resp cut side=client at=1 when=after how=silence >/dev/null
say 'SET any 1\r\n'
ok 'without a text the first message counts' tell resp wait-fired $((before + 1)) 5000
is "$(ending silence)" silence 'silence'
is "$(stat_of resp open)" 1 'is a connection that is open'
tell resp heal >/dev/null
is "$(ending rst)" rst 'until it is healed'
hang_up
is "$(redis_by get any)" 1 'then all is well'

# --- the same as the server sees it: raw, so that the server may be anything

sink_port=$(free_port)
sink() { # a server that writes down what it hears, and how that ends
  : >"$T/sunk"
  socat -d -u TCP-LISTEN:"$sink_port",bind=127.0.0.1,reuseaddr OPEN:"$T/sunk",append 2>"$T/sink.log" &
  helper_pid[sink]=$!
  wait_until 5 grep -q "^ *[0-9]*: 0100007F:$(printf %04X "$sink_port") 00000000:0000 0A" /proc/net/tcp || bail 'no sink'
}
sink_ended() { ! kill -0 "${helper_pid[sink]}" 2>/dev/null; }
sink_heard() { [ "$(cat "$T/sunk")" = "$1" ]; }
sink_ending() { # sink_ending EXPECTED
  if ! wait_until "$([ "$1" = silence ] && echo 1 || echo 5)" sink_ended; then echo silence; elif grep -q 'reset by peer' "$T/sink.log"; then echo rst; else echo fin; fi
}
proxy_up raw raw "127.0.0.1:$sink_port"
for how in rst fin silence; do
  for when in before after; do
    sink
    tell raw cut side=client at=1 when=$when how=$how from=last >/dev/null
    dial raw
    say first
    wait_until 5 sink_heard first || bail 'raw bytes do not come through'
    say last
    is "$(ending $how)" $how "raw, $when, $how: the client sees it"
    is "$(sink_ending $how)" $how "raw, $when, $how: so does the server"
    is "$(cat "$T/sunk")" "$([ $when = before ] && echo first || echo firstlast)" "raw, $when, $how: after what it may see"
    hang_up
    tell raw heal >/dev/null
    wait_until 5 sink_ended || bail 'the sink stays'
  done
done

# what others do is passed on: another proxy stands before this one, on either side of which the end can come from
proxy_up front raw "127.0.0.1:${proxy_port[raw]}"
for how in fin rst; do
  verb=$([ $how = fin ] && echo close || echo reset)
  for from in front raw; do
    sink
    dial front
    say first
    wait_until 5 sink_heard first || bail 'raw bytes do not come through'
    tell $from "$verb" >/dev/null
    is "$(ending $how)" $how "the client sees a $how of $from"
    hang_up
    is "$(sink_ending $how)" $how "the server sees a $how of $from"
  done
done
proxy_down front
is "$(exit_code tell raw trace from=x)" 65 'raw has no messages to trace'
proxy_down raw
is "$status" 0 'TERM ends it with 0'
ok 'and takes the control socket away' test ! -e "$T/raw.ctl"

# --- late

tell pg delay side=client at=1 ms=1500 from=zombie >/dev/null
before=$(stat_of pg fired)
began=$(now_ms)
timeout 0.5 psql -XAtq "host=127.0.0.1 port=${proxy_port[pg]} dbname=booking user=postgres" \
  -c "insert into note values ('zombie')" >/dev/null 2>&1 || true
is "$(stat_of pg fired)" $((before + 1)) 'the delay fires when it begins'
is "$(sql "select count(*) from note where id = 'zombie'")" 0 'the client is gone, nothing is written'
like "$(stat_of pg held)" '^[1-9]' 'but something is on its way'
ok 'which is written all the same' wait_until 10 has_note zombie
ok "$(($(now_ms) - began)) ms later" test $(($(now_ms) - began)) -ge 1500
wait_until 5 stat_is pg open 0 || true
is "$(stat_of pg open)" 0 'and the connection ends'

tell resp delay side=server at=1 ms=400 from=slowly >/dev/null
dial resp
began=$(now_ms)
say 'ECHO slowly\r\nPING\r\n'
is "$(hear)$(hear)$(hear)" '$6slowly+PONG' 'an answer that is late comes whole, and what is behind it comes after'
ok "$(($(now_ms) - began)) ms later" test $(($(now_ms) - began)) -ge 400
hang_up

tell resp latency 100 50 >/dev/null
began=$(now_ms)
dial resp
say 'PING\r\nECHO a\r\n'
is "$(hear)$(hear)$(hear)" '+PONG$1a' 'latency keeps the order'
took=$(($(now_ms) - began))
ok "and costs 200 ms at least ($took)" test $took -ge 200
hang_up
tell resp latency 0 >/dev/null

tell resp bandwidth 500000 >/dev/null
began=$(now_ms)
is "$(redis_by --raw getrange blob 0 199999 | md5sum)" "$(redis --raw getrange blob 0 199999 | md5sum)" 'a narrow line brings everything'
took=$(($(now_ms) - began))
ok "200,000 bytes take 380 ms at least ($took)" test $took -ge 380
tell resp bandwidth 0 >/dev/null

# --- one byte at a time

echo_of() { redis_by echo "$1"; }
long=$(printf 'abcdefghij%.0s' {1..12})
tell resp slice 1 >/dev/null
is "$(echo_of "$long")" "$long" 'slices of one byte'
tell resp slice 0 >/dev/null
proxy_up chunks raw "127.0.0.1:$redis_port" # behind the other, and counts what that one writes
tell resp upstream "127.0.0.1:${proxy_port[chunks]}" >/dev/null
tell resp bandwidth 2000 >/dev/null # slowly, so that none is read together with the one before
echo_of "$long" >/dev/null
unsliced=$(stat_of chunks client_messages)
tell resp slice 5 >/dev/null
is "$(echo_of "$long")" "$long" 'slices of five bytes'
ok 'are written one at a time' test $(($(stat_of chunks client_messages) - unsliced)) -gt $((unsliced * 3))
tell resp heal >/dev/null
tell resp upstream "unix:$REDIS_SOCKET" >/dev/null
is "$(redis_by ping)" PONG 'a Unix socket upstream'
tell pg slice 1 >/dev/null
is "$(sql_by -c 'select sum(g), count(*) from generate_series(1, 1000) g')" '500500|1000' 'PostgreSQL byte by byte'
is "$(sql_by -c "select string_agg(g::text, ',') from generate_series(1, 2000) g" | md5sum)" \
  "$(sql "select string_agg(g::text, ',') from generate_series(1, 2000) g" | md5sum)" 'ten thousand times'
tell pg cut side=server at=2 when=after how=rst from=sliced >/dev/null
sql_by -c "select 'sliced'" >/dev/null 2>&1 || true
ok 'and cut at a message all the same' tell pg wait-fired $((before + 2)) 1000
tell pg heal >/dev/null

# --- black holes

tell resp blackhole up >/dev/null
dial resp
say 'SET hole up\r\nPING\r\n'
is "$(ending silence)$(rest)" silence 'up: no answer'
is "$(redis exists hole)" 0 'for nothing has arrived'
tell resp blackhole off >/dev/null
is "$(hear)$(hear)" '+OK+PONG' 'off: it arrives late'
tell resp blackhole down >/dev/null
say 'SET hole down\r\n'
is "$(ending silence)$(rest)" silence 'down: no answer'
is "$(redis get hole)" down 'but it was done'
is "$(stat_of resp held)" 5 'the answer waits'
tell resp blackhole off >/dev/null
is "$(hear)" +OK 'off: it comes late'
tell resp blackhole both >/dev/null
say 'SET hole gone\r\n'
is "$(ending silence)$(rest)" silence 'both: no answer'
hang_up
dial resp
is "$(ending silence)$(rest)" silence 'a new connection is accepted, no more'
tell resp blackhole off >/dev/null
say 'GET hole\r\n'
is "$(hear)$(hear)" '$4down' 'off: what a client sent that has left is gone with it'
hang_up

# --- one bit

tell resp flip side=client at=11 bit=1 from='ECHO' >/dev/null
dial resp
say 'ECHO aaaaaaaa\r\n'
is "$(hear)$(hear)" '$8aaaaacaa' 'the eleventh byte of the client, from the message with the text'
say 'ECHO aaaaaaaa\r\n'
is "$(hear)$(hear)" '$8aaaaaaaa' 'once'
tell resp flip side=server at=5 from=ECHO >/dev/null
say 'ECHO aaaaaaaa\r\n'
is "$(hear)$(hear)" '$8`aaaaaaa' 'the fifth byte of the server, from there'
hang_up

# --- whole connections

dial resp
say 'PING\r\n'
hear >/dev/null
is "$(tell resp reset)" 'ok 1' 'reset says how many'
is "$(ending rst)" rst 'and is one'
hang_up
dial resp
say 'PING\r\n'
hear >/dev/null
is "$(tell resp close)" 'ok 1' 'close says how many'
is "$(ending fin)" fin 'and is one'
hang_up
tell resp refuse on >/dev/null
dial resp
is "$(ending rst)" rst 'refused'
hang_up
is "$(stat_of resp refused)" 1 'and counted'
tell resp heal >/dev/null
is "$(redis_by ping)" PONG 'heal ends that, too'
tell resp upstream 127.0.0.1:1 >/dev/null
dial resp
is "$(ending rst)" rst 'a server that does not exist'
hang_up
tell resp upstream "127.0.0.1:$redis_port" >/dev/null
is "$(redis_by ping)" PONG 'and one that does'

# --- the wait

before=$(stat_of resp fired)
tell resp cut side=client at=1 when=before how=rst from=awaited >/dev/null
tell resp wait-fired $((before + 1)) 20000 >"$T/waited" &
waiter=$!
dial resp
say 'ECHO awaited\r\n'
status=0
wait $waiter || status=$?
is "$status" 0 'wait-fired is woken'
is "$(cat "$T/waited")" "ok fired=$((before + 1))" 'and says how many'
hang_up

# --- garbage, and the end

for name in pg resp; do
  for size in 1 7 100 100000; do
    dial $name
    { head -c $size /dev/urandom >&"$wire"; } 2>/dev/null || true
    hang_up
  done
done
wait_until 10 stat_is pg open 0 || tell pg reset >/dev/null
is "$(sql_by -c 'select 1')$(redis_by ping)" 1PONG 'garbage has done it no harm'

{ kill -KILL "${helper_pid[chunks]}" && wait "${helper_pid[chunks]}"; } 2>/dev/null || true
unset 'helper_pid[chunks]'
ok 'one that was killed leaves its socket behind' test -S "$T/chunks.ctl"
proxy_up chunks raw "127.0.0.1:$redis_port"
ok 'which the next one replaces' tell chunks stats
for name in chunks pg; do
  proxy_down $name
  is "$status" 0 "$name ends with 0"
done
dial resp
is "$(tell resp quit)" ok 'quit is answered'
status=0
wait "${helper_pid[resp]}" || status=$?
unset 'helper_pid[resp]'
is "$status" 0 'and obeyed'
is "$(ending rst)" rst 'which its connections notice'
hang_up
done_testing
