/* sqlstate.h - what a PostgreSQL error means for whoever met it: one table, by SQLSTATE. */
#ifndef BK_SQLSTATE_H
#define BK_SQLSTATE_H

#include "common/error.h"

/** The class of an error that the server reported with this SQLSTATE (five characters; PostgreSQL documentation,
 *  Appendix A). "" means that there was none: BK_OUTAGE. Any thread. */
enum bk_status bk_sqlstate_class(const char *sqlstate);

/** Whether the error says that the server (not just this connection) has changed its role or is going down, so that
 *  every other connection to it is suspect as well: 57P01, 57P02, 57P03, 25006. Any thread. */
bool bk_sqlstate_dooms_server(const char *sqlstate);

#endif
