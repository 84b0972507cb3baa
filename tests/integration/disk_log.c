/* Preloaded into a process: notes what it does to the files of one folder, so that a power loss can be acted out.

   Environment: DISK_LOG (file to append to), DISK_FOLDER (only files in it are noted).
   A record: 'w' write, 's' sync, 't' truncate, 'u' unlink; length of path and of data (uint32 each); offset or new
   size (uint64); the path; the data. The call and its record are made under one lock, so that their order is right. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;

static void put(const void *data, size_t size) {
    const char *at = data;
    while (size) {
        long done = syscall(SYS_write, log_fd, at, size);
        if (done <= 0) abort();
        at += done;
        size -= (size_t)done;
    }
}

static void note(char what, const char *path, const void *data, uint32_t size, uint64_t offset) {
    if (log_fd < 0) log_fd = open(getenv("DISK_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    uint32_t length = (uint32_t)strlen(path);
    put(&what, 1);
    put(&length, 4);
    put(&size, 4);
    put(&offset, 8);
    put(path, length);
    put(data, size);
}

static int is_ours(const char *path) {
    const char *folder = getenv("DISK_FOLDER");
    return folder && getenv("DISK_LOG") && strncmp(path, folder, strlen(folder)) == 0;
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX);
    if (length <= 0 || length == PATH_MAX) return 0;
    path[length] = 0;
    return is_ours(path);
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

static ssize_t write_at(const char *name, int fd, const void *data, size_t size, off64_t offset) {
    char path[PATH_MAX + 1];
    if (!path_of(fd, path)) return REAL(ssize_t, name, int, const void *, size_t, off64_t)(fd, data, size, offset);
    pthread_mutex_lock(&lock);
    ssize_t done = REAL(ssize_t, name, int, const void *, size_t, off64_t)(fd, data, size, offset);
    if (done > 0) note('w', path, data, (uint32_t)done, (uint64_t)offset);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return write_at("pwrite", fd, data, size, offset); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) { return write_at("pwrite64", fd, data, size, offset); }

ssize_t write(int fd, const void *data, size_t size) {
    char path[PATH_MAX + 1];
    if (!path_of(fd, path)) return REAL(ssize_t, "write", int, const void *, size_t)(fd, data, size);
    pthread_mutex_lock(&lock);
    off64_t offset = lseek64(fd, 0, SEEK_CUR);
    ssize_t done = REAL(ssize_t, "write", int, const void *, size_t)(fd, data, size);
    if (done > 0) note('w', path, data, (uint32_t)done, (uint64_t)offset);
    pthread_mutex_unlock(&lock);
    return done;
}

static int sync_it(const char *name, int fd) {
    char path[PATH_MAX + 1];
    if (!path_of(fd, path)) return REAL(int, name, int)(fd);
    pthread_mutex_lock(&lock);
    int failed = REAL(int, name, int)(fd);
    if (!failed) note('s', path, "", 0, 0);
    pthread_mutex_unlock(&lock);
    return failed;
}

int fsync(int fd) { return sync_it("fsync", fd); }
int fdatasync(int fd) { return sync_it("fdatasync", fd); }

static int cut(const char *name, int fd, off64_t size) {
    char path[PATH_MAX + 1];
    if (!path_of(fd, path)) return REAL(int, name, int, off64_t)(fd, size);
    pthread_mutex_lock(&lock);
    int failed = REAL(int, name, int, off64_t)(fd, size);
    if (!failed) note('t', path, "", 0, (uint64_t)size);
    pthread_mutex_unlock(&lock);
    return failed;
}

int ftruncate(int fd, off_t size) { return cut("ftruncate", fd, size); }
int ftruncate64(int fd, off64_t size) { return cut("ftruncate64", fd, size); }

int unlink(const char *path) {
    if (!is_ours(path)) return REAL(int, "unlink", const char *)(path);
    pthread_mutex_lock(&lock);
    int failed = REAL(int, "unlink", const char *)(path);
    if (!failed) note('u', path, "", 0, 0);
    pthread_mutex_unlock(&lock);
    return failed;
}
