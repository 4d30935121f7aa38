/* embedded.h - a file whose bytes were compiled into the program (see embed() in CMakeLists.txt). */
#ifndef BK_EMBEDDED_H
#define BK_EMBEDDED_H

#include <stddef.h>

struct bk_embedded {
    const char *name;          /* file name without its folder; NULL ends a table */
    const unsigned char *data; /* `size` bytes, followed by a NUL that is not counted */
    size_t size;
};

#endif
