/* The buffer, and the strict little parsers for text from outside. */
#include "common/text.h"

#include <inttypes.h>
#include <string.h>

#include <criterion/criterion.h>

Test(text, an_untouched_buffer_is_the_empty_string)
{
    struct bk_text text = {0};
    cr_expect_str_eq(bk_text_string(&text), "");
    bk_text_deinit(&text);
}

Test(text, grows_with_what_is_added)
{
    BK_AUTO_TEXT text = {0};
    for (int i = 0; i < 1000; i++)
        bk_text_printf(&text, "%d,", i);
    bk_text_putc(&text, '.');
    bk_text_add(&text, "", 0);

    cr_expect_eq(text.size, 10U * 2 + 90U * 3 + 900U * 4 + 1);
    cr_expect(strncmp(text.data, "0,1,2,3,", 8) == 0);
    cr_expect_str_eq(text.data + text.size - 9, "998,999,.");
}

Test(text, holds_any_bytes_and_ends_in_a_nul)
{
    BK_AUTO_TEXT text = {0};
    bk_text_add(&text, "a\0b", 3);
    cr_expect_eq(text.size, 3);
    cr_expect_arr_eq(text.data, "a\0b\0", 4);
}

Test(text, keeps_its_memory_when_cleared)
{
    BK_AUTO_TEXT text = {0};
    bk_text_puts(&text, "once");
    const char *before = text.data;
    bk_text_clear(&text);
    cr_expect_str_eq(bk_text_string(&text), "");
    bk_text_puts(&text, "more");
    cr_expect_eq(text.data, before);
}

/* --- UTF-8 (RFC 3629, and the rows of Markus Kuhn's decoder stress test) ------------------------------------------ */

Test(utf8, takes_what_is_well_formed)
{
    static const struct {
        const char *bytes;
        uint32_t scalar;
        size_t size;
    } rows[] = {
        {"\x01", 0x1, 1},
        {"\x7f", 0x7f, 1},
        {"\xc2\x80", 0x80, 2},
        {"\xdf\xbf", 0x7ff, 2},
        {"\xe0\xa0\x80", 0x800, 3},
        {"\xed\x9f\xbf", 0xd7ff, 3},
        {"\xee\x80\x80", 0xe000, 3},
        {"\xef\xbf\xbf", 0xffff, 3},
        {"\xf0\x90\x80\x80", 0x10000, 4},
        {"\xf4\x8f\xbf\xbf", 0x10ffff, 4},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        uint32_t scalar = 0;
        cr_expect_eq(bk_utf8_step(rows[i].bytes, rows[i].size, &scalar), rows[i].size, "U+%04" PRIX32, rows[i].scalar);
        cr_expect_eq(scalar, rows[i].scalar, "U+%04" PRIX32, rows[i].scalar);
        for (size_t cut = 0; cut < rows[i].size; cut++)
            cr_expect_eq(bk_utf8_step(rows[i].bytes, cut, NULL), 0, "U+%04" PRIX32 " cut at %zu", rows[i].scalar, cut);
    }
}

Test(utf8, refuses_what_is_not)
{
    static const struct {
        const char *why;
        const char *bytes;
    } rows[] = {
        {"continuation first", "\x80"},
        {"last continuation first", "\xbf"},
        {"overlong / in two", "\xc0\xaf"},
        {"overlong NUL in two", "\xc0\x80"},
        {"overlong U+7F", "\xc1\xbf"},
        {"overlong / in three", "\xe0\x80\xaf"},
        {"overlong U+7FF", "\xe0\x9f\xbf"},
        {"overlong / in four", "\xf0\x80\x80\xaf"},
        {"overlong U+FFFF", "\xf0\x8f\xbf\xbf"},
        {"high surrogate", "\xed\xa0\x80"},
        {"low surrogate", "\xed\xbf\xbf"},
        {"surrogate pair, as CESU-8 has it", "\xed\xa0\x81\xed\xb0\x80"},
        {"U+110000", "\xf4\x90\x80\x80"},
        {"five bytes", "\xf8\x88\x80\x80\x80"},
        {"six bytes", "\xfc\x84\x80\x80\x80\x80"},
        {"0xFE", "\xfe"},
        {"0xFF", "\xff"},
        {"second byte is ASCII", "\xc3("},
        {"third byte is ASCII", "\xe2\x82("},
        {"fourth byte is ASCII", "\xf0\x9f\x98("},
        {"Latin-1", "caf\xe9"},
        {"good, then cut", "\xc3\xa9\xc3"},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++)
        cr_expect_not(bk_utf8_valid(rows[i].bytes, strlen(rows[i].bytes), NULL), "%s", rows[i].why);
}

Test(utf8, counts_characters_and_not_bytes)
{
    static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\0";
    size_t characters = 0;
    cr_expect(bk_utf8_valid(text, sizeof(text) - 1, &characters));
    cr_expect_eq(characters, 5, "a, e acute, euro, smiley and NUL, got %zu", characters);
    cr_expect(bk_utf8_valid("", 0, &characters));
    cr_expect_eq(characters, 0);
}

Test(utf8, leaves_the_count_alone_on_failure)
{
    size_t characters = 77;
    cr_expect_not(bk_utf8_valid("abc\xff", 4, &characters));
    cr_expect_eq(characters, 77);
}

/* --- JSON strings ------------------------------------------------------------------------------------------------- */

Test(json_string, escapes_what_json_forbids_and_what_terminals_obey)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *expected;
    } rows[] = {
        {"", 0, "\"\""},
        {"plain", 5, "\"plain\""},
        {"say \"hi\"", 8, "\"say \\\"hi\\\"\""},
        {"C:\\dir", 6, "\"C:\\\\dir\""},
        {"a/b", 3, "\"a/b\""},
        {"1\n2\t3\r", 6, "\"1\\u000a2\\u00093\\u000d\""},
        {"\0\x1f\x7f", 3, "\"\\u0000\\u001f\\u007f\""},
        {"\x1b[2J", 4, "\"\\u001b[2J\""},
        {"caf\xc3\xa9", 5, "\"caf\xc3\xa9\""},
        {"\xf0\x9f\x98\x80", 4, "\"\xf0\x9f\x98\x80\""},
        {"a\xff"
         "b",
         3,
         "\"a\xef\xbf\xbd"
         "b\""},
        {"\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xe2\x82", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xe2\x80\xaegnp", 6, "\"\\u202egnp\""},
        {"\xc2\x9b[2J", 5, "\"\\u009b[2J\""},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        BK_AUTO_TEXT out = {0};
        bk_text_json(&out, rows[i].bytes, rows[i].size);
        cr_expect_str_eq(bk_text_string(&out), rows[i].expected, "row %zu: %s", i, bk_text_string(&out));
    }
}

Test(json_string, is_null_for_no_string)
{
    BK_AUTO_TEXT out = {0};
    bk_text_json_string(&out, NULL);
    bk_text_json_string(&out, "x");
    cr_expect_str_eq(bk_text_string(&out), "null\"x\"");
}

/* --- for terminals ------------------------------------------------------------------------------------------------ */

Test(safe, lets_no_byte_through_that_a_terminal_obeys)
{
    static const struct {
        const char *bytes;
        const char *expected;
    } rows[] = {
        {"plain text, %s%n and 100%", "plain text, %s%n and 100%"},
        {"\x1b[31mred", "\\x1b[31mred"},
        {"\x1b]0;title\x07", "\\x1b]0;title\\x07"},
        {"line\r\nline\tcell", "line\\x0d\\x0aline\\x09cell"},
        {"bell\x07 back\x08 del\x7f", "bell\\x07 back\\x08 del\\x7f"},
        {"caf\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80",
         "caf\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80"},
        {"C1 \xc2\x9b"
         "31m",
         "C1 \\u{9b}31m"},
        {"raw C1 \x9b"
         "31m",
         "raw C1 \\x9b31m"},
        {"right to left \xe2\x80\xae"
         "gpj.exe",
         "right to left \\u{202e}gpj.exe"},
        {"isolate \xe2\x81\xa6x\xe2\x81\xa9", "isolate \\u{2066}x\\u{2069}"},
        {"marks \xe2\x80\x8e\xe2\x80\x8f\xd8\x9c", "marks \\u{200e}\\u{200f}\\u{61c}"},
        {"separators \xe2\x80\xa8\xe2\x80\xa9", "separators \\u{2028}\\u{2029}"},
        {"BOM \xef\xbb\xbf", "BOM \\u{feff}"},
        {"no-break space \xc2\xa0", "no-break space \xc2\xa0"},
        {"overlong \xc0\xaf", "overlong \\xc0\\xaf"},
        {"lone \xff", "lone \\xff"},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        BK_AUTO_TEXT out = {0};
        bk_text_safe(&out, rows[i].bytes, strlen(rows[i].bytes), 1000);
        cr_expect_str_eq(bk_text_string(&out), rows[i].expected, "row %zu: %s", i, bk_text_string(&out));
    }
}

Test(safe, no_sequence_of_two_bytes_gets_a_control_character_through)
{
    for (unsigned first = 0; first < 256; first++) {
        for (unsigned second = 0; second < 256; second++) {
            const char bytes[2] = {(char)first, (char)second};
            BK_AUTO_TEXT out = {0};
            bk_text_safe(&out, bytes, 2, 2);
            cr_assert(bk_utf8_valid(out.data, out.size, NULL), "%02x %02x", first, second);
            for (size_t i = 0; i < out.size; i++) {
                unsigned char c = (unsigned char)out.data[i];
                cr_assert(c >= 0x20 && c != 0x7f, "%02x %02x", first, second);
                cr_assert(!(c == 0xc2 && (unsigned char)out.data[i + 1] < 0xa0), "%02x %02x", first, second);
            }
        }
    }
}

Test(safe, cuts_between_characters_and_says_so)
{
    static const struct {
        const char *bytes;
        size_t most;
        const char *expected;
    } rows[] = {
        {"abcdef", 6, "abcdef"},
        {"abcdef", 7, "abcdef"},
        {"abcdef", 5, "abcde..."},
        {"abcdef", 0, "..."},
        {"", 0, ""},
        {"\xc3\xa9\xc3\xa9", 3, "\xc3\xa9\xc3\xa9"}, /* whole characters only: nothing was left out */
        {"\xc3\xa9\xc3\xa9z", 3, "\xc3\xa9\xc3\xa9..."},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        BK_AUTO_TEXT out = {0};
        bk_text_safe(&out, rows[i].bytes, strlen(rows[i].bytes), rows[i].most);
        cr_expect_str_eq(bk_text_string(&out), rows[i].expected, "row %zu: %s", i, bk_text_string(&out));
    }
}

/* --- integers and UUIDs ------------------------------------------------------------------------------------------- */

Test(integer, is_read_up_to_its_limits)
{
    static const struct {
        const char *text;
        int64_t value;
    } rows[] = {
        {"0", 0},
        {"7", 7},
        {"-1", -1},
        {"9007199254740993", INT64_C(9007199254740993)},
        {"9223372036854775806", INT64_MAX - 1},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775807", -INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        int64_t value = 42;
        cr_expect(bk_parse_integer(bk_span_of(rows[i].text), &value), "%s", rows[i].text);
        cr_expect_eq(value, rows[i].value, "%s became %" PRId64, rows[i].text, value);
    }
}

Test(integer, is_not_what_only_looks_like_one)
{
    static const char *const rows[] = {
        "",
        "-",
        "+1",
        "--1",
        " 1",
        "1 ",
        "1\n",
        "01",
        "-01",
        "00",
        "0x10",
        "1e3",
        "1.0",
        "1,000",
        "one",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "99999999999999999999",
        "\xd9\xa1", /* ARABIC-INDIC DIGIT ONE */
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        int64_t value = 42;
        cr_expect_not(bk_parse_integer(bk_span_of(rows[i]), &value), "\"%s\"", rows[i]);
        cr_expect_eq(value, 42, "\"%s\" was refused and written", rows[i]);
    }
    int64_t value = 42;
    cr_expect_not(bk_parse_integer((struct bk_span){"1\0"
                                                    "2",
                                                    3},
                                   &value),
                  "a NUL in the middle");
    cr_expect(bk_parse_integer((struct bk_span){"12345", 2}, &value) && value == 12, "only the span counts");
}

Test(uuid, is_36_characters_of_its_form)
{
    static const char good[] = "6f1d2c3b-4a59-4870-9b6c-0123456789aF";
    cr_expect(bk_is_uuid(bk_span_of(good)));
    cr_expect(bk_is_uuid(bk_span_of("00000000-0000-0000-0000-000000000000")));

    static const char *const bad[] = {
        "",
        "6f1d2c3b4a5948709b6c0123456789af",
        "{6f1d2c3b-4a59-4870-9b6c-0123456789af}",
        "6f1d2c3b-4a59-4870-9b6c-0123456789a",
        "6f1d2c3b-4a59-4870-9b6c-0123456789afa",
        "6f1d2c3b-4a59-4870-9b6c-0123456789ag",
        "6f1d2c3-b4a59-4870-9b6c-0123456789af",
        "6f1d2c3b_4a59_4870_9b6c_0123456789af",
        " f1d2c3b-4a59-4870-9b6c-0123456789af",
        "urn:uuid:6f1d2c3b-4a59-4870-9b6c-0123456789af",
    };
    for (size_t i = 0; i < BK_COUNT(bad); i++)
        cr_expect_not(bk_is_uuid(bk_span_of(bad[i])), "\"%s\"", bad[i]);
    /* each place takes only what belongs there */
    for (size_t at = 0; at < 36; at++) {
        char text[37];
        memcpy(text, good, sizeof(text));
        text[at] = text[at] == '-' ? '0' : '-';
        cr_expect_not(bk_is_uuid(bk_span_of(text)), "%s", text);
    }
}
