// A disk that fails: the n-th call that changes a file below a folder gives an error, and perhaps each one after it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[4096];
static long at = -1, seen = 0;
static int error = 0, stays = 0;

void faults_arm(const char *below, long n, int number, int every) {
    strncpy(folder, below, sizeof folder - 1);
    seen = 0, at = n, error = number, stays = every;
}

long faults_seen(void) { return seen; }

static int fails(const char *path) {
    if (at < 0 || strncmp(path, folder, strlen(folder))) return 0;
    long now = ++seen;
    if (now == at || (stays && now > at)) {
        errno = error;
        return 1;
    }
    return 0;
}

static int fails_fd(int fd) {
    if (at < 0) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(path);
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define WRITES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT))
#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        return WRITES(flags) && fails(path) ? -1 : real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
#define OPENAT(name) \
    int name(int at_fd, const char *path, int flags, ...) { \
        REAL(name); va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        return WRITES(flags) && fails(path) ? -1 : real(at_fd, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)
ssize_t write(int fd, const void *data, size_t length) { REAL(write); return fails_fd(fd) ? -1 : real(fd, data, length); }
ssize_t writev(int fd, const struct iovec *data, int n) { REAL(writev); return fails_fd(fd) ? -1 : real(fd, data, n); }
int fsync(int fd) { REAL(fsync); return fails_fd(fd) ? -1 : real(fd); }
int rename(const char *from, const char *to) { REAL(rename); return fails(to) ? -1 : real(from, to); }
int renameat(int one, const char *from, int other, const char *to) {
    REAL(renameat); return fails(to) ? -1 : real(one, from, other, to);
}
int mkdir(const char *path, mode_t mode) { REAL(mkdir); return fails(path) ? -1 : real(path, mode); }
