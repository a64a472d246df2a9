/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "lib/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <unistd.h>

/**
 * Reads a file of /proc whose length is another process's to choose: a process may have its command line be as long as its
 * memory (prctl(2), PR_SET_MM).
 * @limit: bytes; of a longer one this many are read, and no more
 * Returns: with a NUL behind it, to be freed with g_free(); or NULL with an error of G_FILE_ERROR.
 */
char *proc_read(const char *path, gsize limit, gsize *ret_length, GError **error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), number = 0;
    gsize length = 0, room = 4096;
    char *data = NULL;
    ssize_t n = -1;

    if (fd >= 0)
        data = g_malloc(MIN(room, limit) + 1);
    while (fd >= 0 && length < limit) {
        if (length == room) {
            room *= 2;
            data = g_realloc(data, MIN(room, limit) + 1);
        }
        n = read(fd, data + length, MIN(room, limit) - length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        length += (gsize)n;
    }
    number = errno;
    if (fd >= 0)
        (void)close(fd);
    if (n < 0) {
        g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(number), "cannot read %s: %s", path,
                    g_strerror(number));
        g_free(data);
        return NULL;
    }
    data[length] = '\0';
    *ret_length = length;
    return data;
}
