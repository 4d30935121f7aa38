# The table of tests/coverage, from lines `file, line, function, count, counts of branches` that are sorted by the first two.
# Variables: table (the justified), uncovered (where to write the rest), lines_most and branches_most (percent asked for).

# justify FILE: a row is a file, a piece of its lines or `function()`, and why; two blanks or more between them
function read_table(   row, cell) {
  while ((getline row <table) > 0) {
    if (row == "" || row ~ /^#/) continue
    if (split(row, cell, /  +/) != 3) { print table ": not three cells: " row; bad = 1; continue }
    rows++
    row_file[rows] = cell[1]; row_piece[rows] = cell[2]; row_why[rows] = cell[3]
  }
}

# The row that speaks for a line of code, 0 for none.
function justified(   i, name) {
  for (i = 1; i <= rows; i++) {
    if (row_file[i] != file) continue
    name = row_piece[i]
    if (name ~ /\(\)$/ ? name == of "()" : index(text[file, line], name)) return i
  }
  return 0
}

function read_source(name,   n, row) {
  while ((getline row <name) > 0) text[name, ++n] = row
  close(name)
}

# What came together about one line is judged.
function flush(   missed, ways, i, why) {
  if (file == "") return
  for (i = 1; i <= branches; i++) { ways++; if (!taken[i]) missed++ }
  why = count == 0 || missed ? justified() : 0
  if (why) { row_used[why]++; lines_excused += count == 0; branches_excused += missed }
  else if (text[file, line] ~ /BK_ASSERT\(/ && count > 0) { asserts += missed; ways -= missed; missed = 0 }
  if (!why || count > 0) { lines[file]++; lines_run[file] += count > 0 }
  if (why) { ways -= missed; missed = 0 }
  all[file] += ways
  run[file] += ways - missed
  if (!why && (count == 0 || missed))
    printf "%s:%d: %s%s\n", file, line, count == 0 ? "never: " : sprintf("%d of %d ways not: ", missed, branches), text[file, line] >uncovered
  branches = 0
  delete taken
}

BEGIN { read_table(); printf "" >uncovered }

{
  if ($1 != file || $2 != line) {
    flush()
    if ($1 != file) { read_source($1); files[++file_count] = $1 }
    file = $1; line = $2; of = $3; count = 0
  }
  count += $4
  n = split($5, each, " ")
  # a line of the same function in another object has the same branches; of another function it has more of them
  if (n > branches) branches = n
  for (i = 1; i <= n; i++) taken[i] += each[i]
}

function percent(part, whole) { return whole ? 100 * part / whole : 100 }

function row(name, l, lr, b, br) {
  printf "%-28s %6d %6.1f %% %8d %6.1f %%\n", name, l, percent(lr, l), b, percent(br, b)
}

END {
  flush()
  printf "%-28s %6s %8s %8s %8s\n", "file", "lines", "run", "branches", "run"
  for (i = 1; i <= file_count; i++) {
    f = files[i]
    row(f, lines[f], lines_run[f], all[f], run[f])
    split(f, part, "/")
    for (k = 1; k <= 2; k++) {
      name = k == 1 ? part[1] : "all"
      L[name] += lines[f]; R[name] += lines_run[f]; B[name] += all[f]; T[name] += run[f]
    }
  }
  row("common/", L["common"], R["common"], B["common"], T["common"])
  row("worker/", L["worker"], R["worker"], B["worker"], T["worker"])
  row("all", L["all"], R["all"], B["all"], T["all"])
  printf "justified: %d lines and %d branches by %d rows of %s; failing sides of BK_ASSERT: %d\n", lines_excused, branches_excused, rows, table, asserts
  for (i = 1; i <= rows; i++)
    if (!row_used[i]) printf "needless this time: %s  %s\n", row_file[i], row_piece[i]
  print "the rest: " uncovered
  if (bad || percent(R["all"], L["all"]) < lines_most || percent(T["all"], B["all"]) < branches_most) {
    printf "asked for: %s %% of lines, %s %% of branches\n", lines_most, branches_most
    exit 1
  }
}
