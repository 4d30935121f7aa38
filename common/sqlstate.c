/* sqlstate.c - see sqlstate.h.
 *
 * The rule the table serves: only trouble of connection, capacity and contention is tried again; what the statement
 * itself is to blame for passes straight through; what a person must mend never costs a job its life.
 */
#include "common/sqlstate.h"

#include <string.h>

/* The longest prefix that fits decides. */
static const struct {
    const char *prefix;
    enum bk_status status;
} classes[] = {
    /* contention, and our own time limits: the same statement may succeed at once */
    {"40", BK_TRANSIENT},    /* serialization failure, deadlock */
    {"55P03", BK_TRANSIENT}, /* lock_timeout */
    {"57014", BK_TRANSIENT}, /* statement_timeout, or an administrator's cancel */
    {"0A000", BK_TRANSIENT}, /* "cached plan must not change result type" after DDL */
    {"26000", BK_TRANSIENT}, /* prepared statement gone */
    {"25P02", BK_TRANSIENT}, /* transaction already failed */
    {"55", BK_TRANSIENT},    /* object in use, not in the right state */
    {"XX000", BK_TRANSIENT}, /* internal error: nobody knows; attempts bound it */
    /* the server is in trouble */
    {"08", BK_OUTAGE},    /* connection exceptions; PgBouncer's own troubles are 08P01 */
    {"53", BK_OUTAGE},    /* out of connections, memory, disk */
    {"57", BK_OUTAGE},    /* shutdown, crash, starting up */
    {"58", BK_OUTAGE},    /* I/O error */
    {"25006", BK_OUTAGE}, /* read-only: a standby, or a demoted primary */
    {"25P03", BK_OUTAGE}, /* idle_in_transaction_session_timeout */
    {"25P04", BK_OUTAGE}, /* transaction_timeout (17) */
    {"72", BK_OUTAGE},    /* snapshot too old */
    /* somebody has to mend the set-up */
    {"28", BK_OPERATOR},    /* authentication */
    {"3D000", BK_OPERATOR}, /* no such database */
    {"3F000", BK_OPERATOR}, /* no such schema */
    {"42", BK_OPERATOR},    /* no right, no table, no function; see plan.c for the one that hits a single job */
    {"F0", BK_OPERATOR},    /* configuration file */
    {"XX001", BK_OPERATOR}, /* data corrupted */
    {"XX002", BK_OPERATOR}, /* index corrupted */
    /* the statement's, that is the job's own fault */
    {"22", BK_PERMANENT},
    {"23", BK_PERMANENT},
    {"54", BK_PERMANENT},
    {"P0", BK_PERMANENT},
    {"44", BK_PERMANENT},
    {"2F", BK_PERMANENT},
    {"38", BK_PERMANENT},
    {"39", BK_PERMANENT},
};

enum bk_status bk_sqlstate_class(const char *sqlstate)
{
    enum bk_status status = *sqlstate ? BK_PERMANENT : BK_OUTAGE;
    size_t longest = 0;
    for (size_t i = 0; i < BK_COUNT(classes); i++) {
        size_t size = strlen(classes[i].prefix);
        if (size > longest && strncmp(classes[i].prefix, sqlstate, size) == 0) {
            longest = size;
            status = classes[i].status;
        }
    }
    return status;
}

bool bk_sqlstate_dooms_server(const char *sqlstate)
{
    return strcmp(sqlstate, "57P01") == 0 || strcmp(sqlstate, "57P02") == 0 || strcmp(sqlstate, "57P03") == 0 ||
           strcmp(sqlstate, "25006") == 0;
}
