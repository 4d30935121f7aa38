/* disk.c - LD_PRELOAD: while the file FAULT_DISK_FLAG exists, files whose path contains FAULT_DISK_MATCH cannot grow: ENOSPC,
 * as on a full disk; what is there already can be written over. FAULT_DISK_ERRNO names another error (5: EIO). */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* `end` is where the file would end after the write. */
static bool is_full(int fd, off_t end)
{
    const char *flag = getenv("FAULT_DISK_FLAG");
    const char *match = getenv("FAULT_DISK_MATCH");
    char link[64];
    char path[PATH_MAX];
    struct stat now;
    int before = errno;
    if (!flag || !match || access(flag, F_OK) != 0 || fstat(fd, &now) != 0 || !S_ISREG(now.st_mode)) {
        errno = before;
        return false;
    }
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof(path) - 1);
    path[size > 0 ? size : 0] = '\0';
    errno = before;
    if (!strstr(path, match) || end <= now.st_size)
        return false;
    const char *number = getenv("FAULT_DISK_ERRNO");
    errno = number ? atoi(number) : ENOSPC;
    return true;
}

static off_t end_of(int fd)
{
    struct stat now;
    return fstat(fd, &now) == 0 ? now.st_size : 0;
}

static off_t sum(const struct iovec *parts, int count)
{
    off_t total = 0;
    for (int i = 0; i < count; i++)
        total += (off_t)parts[i].iov_len;
    return total;
}

#define REAL(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *bytes, size_t size)
{
    static ssize_t (*real)(int, const void *, size_t);
    if (!real)
        real = REAL(write);
    /* a log is appended to; a file written from its middle is not what this is for */
    return is_full(fd, end_of(fd) + (off_t)size) ? -1 : real(fd, bytes, size);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at)
{
    return is_full(fd, at + (off_t)size) ? -1 : REAL(pwrite)(fd, bytes, size, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t at)
{
    return is_full(fd, at + (off_t)size) ? -1 : REAL(pwrite64)(fd, bytes, size, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
    return is_full(fd, at + sum(parts, count)) ? -1 : REAL(pwritev)(fd, parts, count, at);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at)
{
    return is_full(fd, at + sum(parts, count)) ? -1 : REAL(pwritev64)(fd, parts, count, at);
}

int posix_fallocate(int fd, off_t at, off_t size)
{
    return is_full(fd, at + size) ? errno : REAL(posix_fallocate)(fd, at, size);
}

int posix_fallocate64(int fd, off_t at, off_t size)
{
    return is_full(fd, at + size) ? errno : REAL(posix_fallocate64)(fd, at, size);
}
