# Prints booking commands, one JSON object a line, for `bookingctl enqueue`: the same seed gives the same lines with every awk.
#   awk -v n=20000 -v seed=7 -f tests/support/commands.awk
#
#   n          distinct commands (20000)           seed     1..2147483646 (1)
#   resources  resources 1..N are booked (50)      twice    percent sent again later, same id and contents (2)
#   overlap    percent of creates and reschedules that want a slot already asked for (10)
#   early      percent of confirms sent before the create they confirm (0)
#   later      percent with a not_before 200..2200 ms after now_ms (0); needs now_ms, Unix ms
#   prefix     start of each id (c)
# The mix is 70% create, 10% confirm, 10% reschedule, 10% cancel. What is confirmed, moved or cancelled was created above,
# mostly a moment ago, so that several commands of one key are in the queue together.

function option(value, default_value) { return value == "" ? default_value : value }

# Park and Miller's generator; every product stays below 2^53.
function random(below) {
  state = (state * 48271) % 2147483647
  return state % below
}

function percent(share) { return random(10000) < share * 100 }

function uuid(i) {
  return sprintf("%08x-%04x-4%03x-8%03x-%06x%06x", (seed * 7919 + i) % 2147483647, int(i / 65536) % 65536, seed % 4096,
                 (seed * 31) % 4096, int(i / 16777216), i % 16777216)
}

# Seconds since 1970 as RFC 3339; the civil calendar after Howard Hinnant's days_from_civil.
function rfc3339(t,    days, era, doe, yoe, doy, mp, d, m, y) {
  days = int(t / 86400); t -= days * 86400
  days += 719468
  era = int(days / 146097); doe = days - era * 146097
  yoe = int((doe - int(doe / 1460) + int(doe / 36524) - int(doe / 146096)) / 365)
  doy = doe - (365 * yoe + int(yoe / 4) - int(yoe / 100))
  mp = int((5 * doy + 2) / 153)
  d = doy - int((153 * mp + 2) / 5) + 1
  m = mp < 10 ? mp + 3 : mp - 9
  y = yoe + era * 400 + (m <= 2)
  return sprintf("%04d-%02d-%02dT%02d:%02d:%02dZ", y, m, d, int(t / 3600), int(t % 3600 / 60), t % 60)
}

# A slot of an hour on a resource: the next free one, or one that somebody asked for before, moved by half an hour at times.
function slot(resource,    start) {
  if (next_slot[resource] > 0 && percent(overlap)) {
    start = random(next_slot[resource]) * 3600
    if (percent(50)) start += 1800
  } else
    start = next_slot[resource]++ * 3600
  start += 1893456000 # 2030-01-01
  return sprintf("\"starts_at\":\"%s\",\"ends_at\":\"%s\"", rfc3339(start), rfc3339(start + 3600))
}

function create(b,    resource, extra) {
  resource = 1 + random(resources)
  extra = percent(20) ? ",\"notes\":\"Table \\\"" b "\\\" by the window \\u2013 caf\\u00e9\"" : ""
  return sprintf("\"kind\":\"booking.create\",\"args\":{\"booking_id\":\"%s\",\"resource_id\":%d,\"customer_id\":%d,%s%s}",
                 uuid(b), resource, 1 + random(5000), slot(resource), extra)
}

function confirm(b) { return sprintf("\"kind\":\"booking.confirm\",\"args\":{\"booking_id\":\"%s\"%s}", uuid(b), expected()) }

function reschedule(b,    resource) {
  resource = 1 + random(resources)
  return sprintf("\"kind\":\"booking.reschedule\",\"args\":{\"booking_id\":\"%s\",%s,\"resource_id\":%d%s}",
                 uuid(b), slot(resource), resource, expected())
}

function cancel(b) {
  return sprintf("\"kind\":\"booking.cancel\",\"args\":{\"booking_id\":\"%s\",\"reason\":\"changed plans\"%s}", uuid(b), expected())
}

# One in twenty says which version it wants to change, and is not always right.
function expected() { return percent(5) ? ",\"expected_version\":" 1 + random(3) : "" }

# One of the bookings asked for so far, mostly a recent one.
function some_booking(    window) {
  window = percent(70) && bookings > 40 ? 40 : bookings
  return bookings - random(window)
}

function send(body,    line) {
  line = sprintf("{\"id\":\"%s-%d-%d\",%s", prefix, seed, ++sent, body)
  if (percent(5)) line = line sprintf(",\"traceparent\":\"00-%08x%08x%08x%08x-%08x%08x-01\"", seed, sent, seed, sent, seed, sent)
  if (percent(later)) line = line sprintf(",\"not_before\":%.0f", now_ms + 200 + random(2000))
  line = line "}"
  print line
  if (percent(twice)) again[sent + 1 + random(200)] = line
  if (sent in again) { print again[sent]; delete again[sent] }
}

BEGIN {
  n = option(n, 20000); seed = option(seed, 1); resources = option(resources, 50); twice = option(twice, 2)
  overlap = option(overlap, 10); early = option(early, 0); later = option(later, 0); prefix = option(prefix, "c")
  state = seed
  for (i = 0; i < 10; i++) random(2)
  bookings = 0; sent = 0
  while (sent < n) {
    what = random(10)
    if (what < 7 || bookings == 0) send(create(++bookings))
    else if (what == 7 && percent(early) && sent + 2 <= n) { send(confirm(bookings + 1)); send(create(++bookings)) }
    else if (what == 7) send(confirm(some_booking()))
    else if (what == 8) send(reschedule(some_booking()))
    else send(cancel(some_booking()))
  }
  for (i = sent + 1; i <= sent + 201; i++) if (i in again) print again[i]
}
