/* health.h - /livez, /readyz and /metrics of a worker. */
#ifndef BK_HEALTH_H
#define BK_HEALTH_H

#include "common/http.h"
#include "worker/service.h"

/** Serves the three over HTTP as BOOKING_HTTP says; *out is NULL when it says off. The service must outlive the server.
 *  Errors: BK_INVALID, BK_OPERATOR. */
enum bk_status bk_health_start(struct bk_http_server **out, struct bk_service *service, struct bk_error *error);

/** Whether the process makes progress; if not, `why` says which lane waits for what. Any thread. */
bool bk_health_alive(struct bk_service *service, struct bk_text *why);

#endif
