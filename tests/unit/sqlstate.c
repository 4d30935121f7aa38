/* What a PostgreSQL error means for whoever met it. */
#include "common/sqlstate.h"

#include <criterion/criterion.h>

Test(sqlstate, each_error_has_its_class)
{
    static const struct {
        const char *sqlstate;
        enum bk_status expected;
        const char *name;
    } rows[] = {
        {"40001", BK_TRANSIENT, "serialization_failure"},
        {"40P01", BK_TRANSIENT, "deadlock_detected"},
        {"55P03", BK_TRANSIENT, "lock_not_available"},
        {"55006", BK_TRANSIENT, "object_in_use"},
        {"57014", BK_TRANSIENT, "query_canceled"},
        {"0A000", BK_TRANSIENT, "cached plan must not change result type"},
        {"26000", BK_TRANSIENT, "invalid_sql_statement_name"},
        {"25P02", BK_TRANSIENT, "in_failed_sql_transaction"},
        {"XX000", BK_TRANSIENT, "internal_error"},

        {"", BK_OUTAGE, "no SQLSTATE: the connection"},
        {"08000", BK_OUTAGE, "connection_exception"},
        {"08003", BK_OUTAGE, "connection_does_not_exist"},
        {"08006", BK_OUTAGE, "connection_failure"},
        {"08P01", BK_OUTAGE, "protocol_violation, or PgBouncer"},
        {"53100", BK_OUTAGE, "disk_full"},
        {"53200", BK_OUTAGE, "out_of_memory"},
        {"53300", BK_OUTAGE, "too_many_connections"},
        {"57P01", BK_OUTAGE, "admin_shutdown"},
        {"57P02", BK_OUTAGE, "crash_shutdown"},
        {"57P03", BK_OUTAGE, "cannot_connect_now"},
        {"57P05", BK_OUTAGE, "idle_session_timeout"},
        {"58030", BK_OUTAGE, "io_error"},
        {"25006", BK_OUTAGE, "read_only_sql_transaction"},
        {"25P03", BK_OUTAGE, "idle_in_transaction_session_timeout"},
        {"25P04", BK_OUTAGE, "transaction_timeout"},

        {"28000", BK_OPERATOR, "invalid_authorization_specification"},
        {"28P01", BK_OPERATOR, "invalid_password"},
        {"3D000", BK_OPERATOR, "invalid_catalog_name"},
        {"3F000", BK_OPERATOR, "invalid_schema_name"},
        {"42501", BK_OPERATOR, "insufficient_privilege"},
        {"42601", BK_OPERATOR, "syntax_error"},
        {"42883", BK_OPERATOR, "undefined_function"},
        {"42P01", BK_OPERATOR, "undefined_table"},
        {"XX001", BK_OPERATOR, "data_corrupted"},
        {"XX002", BK_OPERATOR, "index_corrupted"},

        {"22003", BK_PERMANENT, "numeric_value_out_of_range"},
        {"22021", BK_PERMANENT, "character_not_in_repertoire"},
        {"22P02", BK_PERMANENT, "invalid_text_representation"},
        {"23502", BK_PERMANENT, "not_null_violation"},
        {"23505", BK_PERMANENT, "unique_violation"},
        {"23514", BK_PERMANENT, "check_violation"},
        {"23P01", BK_PERMANENT, "exclusion_violation"},
        {"44000", BK_PERMANENT, "with_check_option_violation"},
        {"54000", BK_PERMANENT, "program_limit_exceeded"},
        {"P0001", BK_PERMANENT, "raise_exception"},
        {"25001", BK_PERMANENT, "active_sql_transaction"},
        {"ZZZZZ", BK_PERMANENT, "one that nobody knows"},
    };
    for (size_t i = 0; i < BK_COUNT(rows); i++) {
        enum bk_status got = bk_sqlstate_class(rows[i].sqlstate);
        cr_expect_eq(got, rows[i].expected, "%s (%s) became \"%s\"", rows[i].sqlstate, rows[i].name,
                     bk_status_label(got));
    }
}

Test(sqlstate, only_a_server_that_goes_or_has_changed_its_role_dooms_its_connections)
{
    static const char *const doom[] = {"57P01", "57P02", "57P03", "25006"};
    static const char *const spare[] = {"", "57014", "57P05", "53300", "40001", "08006", "28P01", "25P03"};
    for (size_t i = 0; i < BK_COUNT(doom); i++)
        cr_expect(bk_sqlstate_dooms_server(doom[i]), "%s", doom[i]);
    for (size_t i = 0; i < BK_COUNT(spare); i++)
        cr_expect_not(bk_sqlstate_dooms_server(spare[i]), "\"%s\"", spare[i]);
}
