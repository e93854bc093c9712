/* Preloaded into a process: counts the calls of the system that change files below a folder, and at the n-th one kills the
   process, after half of a write if asked, or lets it fail with an error. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL, KILL_HALFWAY, FAIL_ONCE, FAIL_FROM };

static char root[4096];
static long at = -1, seen = 0;
static int action = COUNT, error_number = 0;

void inject_arm(const char *folder, long number, int what, int error) {
    strncpy(root, folder, sizeof root - 1);
    at = number; seen = 0; action = what; error_number = error;
}

long inject_seen(void) { return seen; }

static int below(const char *path) {
    char whole[8192];
    if (!root[0] || !path) return 0;
    if (path[0] != '/') {
        if (!getcwd(whole, 4000)) return 0;
        strcat(whole, "/");
        strncat(whole, path, 4000);
        path = whole;
    }
    return strncmp(path, root, strlen(root)) == 0;
}

static int handle_below(int handle) {
    char link[64], path[4096];
    if (!root[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return below(path);
}

/* Returns 1 where the call must fail; deleting is never made to fail, since nothing could be cleaned up then. */
static int point(int deletes, int handle, const void *content, size_t size) {
    int failing = action == FAIL_ONCE || action == FAIL_FROM;
    if (failing && deletes) return 0;
    long here = seen++;
    if (action == COUNT || here < at || (action != FAIL_FROM && here > at)) return 0;
    if (failing) { errno = error_number; return 1; }
    if (action == KILL_HALFWAY && content && size > 1) {
        ssize_t (*next)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
        ssize_t half = next(handle, content, size / 2);
        (void)half;
    }
    kill(getpid(), SIGKILL);
    pause();
    return 0;
}

#define NEXT(name) static __typeof__(&name) next; if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define OPEN(name)                                                                                  \
    int name(const char *path, int flags, ...) {                                                    \
        NEXT(name); int mode = 0; \
        if (flags & O_CREAT) { va_list rest; va_start(rest, flags); mode = va_arg(rest, int); va_end(rest); } \
        if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && below(path) && point(0, -1, 0, 0)) return -1; \
        return next(path, flags, mode);                                                             \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                \
    int name(int folder, const char *path, int flags, ...) {                                        \
        NEXT(name); int mode = 0; \
        if (flags & O_CREAT) { va_list rest; va_start(rest, flags); mode = va_arg(rest, int); va_end(rest); } \
        if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && below(path) && point(0, -1, 0, 0)) return -1; \
        return next(folder, path, flags, mode);                                                     \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int handle, const void *content, size_t size) {
    NEXT(write);
    if (handle_below(handle) && point(0, handle, content, size)) return -1;
    return next(handle, content, size);
}

size_t fwrite(const void *content, size_t size, size_t number, FILE *file) {
    NEXT(fwrite);
    if (handle_below(fileno(file)) && point(0, fileno(file), content, size * number)) return 0;
    return next(content, size, number, file);
}

int fsync(int handle) {
    NEXT(fsync);
    if (handle_below(handle) && point(0, -1, 0, 0)) return -1;
    return next(handle);
}

#define TRUNCATE(name, type)                                                \
    int name(int handle, type size) {                                       \
        NEXT(name); \
        if (handle_below(handle) && point(0, -1, 0, 0)) return -1;          \
        return next(handle, size);                                          \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

int mkdir(const char *path, mode_t mode) {
    NEXT(mkdir);
    if (below(path) && point(0, -1, 0, 0)) return -1;
    return next(path, mode);
}

int rename(const char *from, const char *to) {
    NEXT(rename);
    if (below(to) && point(0, -1, 0, 0)) return -1;
    return next(from, to);
}

int symlink(const char *to, const char *path) {
    NEXT(symlink);
    if (below(path) && point(0, -1, 0, 0)) return -1;
    return next(to, path);
}

#define DELETE(name)                                     \
    int name(const char *path) {                         \
        NEXT(name); \
        if (below(path)) point(1, -1, 0, 0);             \
        return next(path);                               \
    }
DELETE(unlink)
DELETE(rmdir)

int unlinkat(int folder, const char *path, int flags) {
    NEXT(unlinkat);
    if (handle_below(folder)) point(1, -1, 0, 0);
    return next(folder, path, flags);
}
