/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.freedesktop.LogControl1, at /org/freedesktop/LogControl1, for `systemctl service-log-level` and its like. */

#include "daemon/bus-log.h"

#include "daemon/bus.h"
#include "daemon/log.h"
#include <gio/gio.h>
#include <string.h>
#include <unistd.h>

#define INTERFACE "org.freedesktop.LogControl1"
#define OBJECT_PATH "/org/freedesktop/LogControl1"

static int get_string(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED, const char *interface G_GNUC_UNUSED,
                      const char *property, sd_bus_message *reply, void *data G_GNUC_UNUSED,
                      sd_bus_error *error G_GNUC_UNUSED)
{
    return sd_bus_message_append(reply, "s",
                                 strcmp(property, "LogLevel") == 0    ? log_level()
                                 : strcmp(property, "LogTarget") == 0 ? log_target()
                                                                      : LOG_IDENTIFIER);
}

/* Whose call it is. The bus is waited for, unlike in authority.c: it lets nobody but root get as far as here. */
static bool get_user(sd_bus_message *message, uid_t *ret_user)
{
    g_autoptr(sd_bus_creds) creds = NULL;

    return sd_bus_query_sender_creds(message, SD_BUS_CREDS_EUID, &creds) >= 0 &&
           sd_bus_creds_get_euid(creds, ret_user) >= 0;
}

/* The bus policy lets root alone set properties. It is asked again here, by the user and not by a capability. */
static int set_string(sd_bus *bus, const char *path G_GNUC_UNUSED, const char *interface G_GNUC_UNUSED,
                      const char *property, sd_bus_message *value, void *data G_GNUC_UNUSED, sd_bus_error *error)
{
    sd_bus_message *call = sd_bus_get_current_message(bus);
    bool is_level = strcmp(property, "LogLevel") == 0;
    const char *text = NULL;
    uid_t user = 0;
    int r = sd_bus_message_read(value, "s", &text);

    if (r < 0)
        return r;
    if (!get_user(call, &user) || (user != 0 && user != geteuid()))
        return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED, "only root may change what is logged");
    if (!(is_level ? log_set_level(text) : log_set_target(text)))
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "%s can be %s, and not '%s'", property,
                                 is_level ? "emerg, alert, crit, err, warning, notice, info or debug"
                                          : "auto, journal, console or null",
                                 text);
    log_write(G_LOG_LEVEL_MESSAGE, (LogSubject){0}, "%s is %s now",
              is_level ? "the log level" : "the target of the log", text);
    return 0;
}

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_WRITABLE_PROPERTY("LogLevel", "s", get_string, set_string, 0, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_WRITABLE_PROPERTY("LogTarget", "s", get_string, set_string, 0, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_PROPERTY("SyslogIdentifier", "s", get_string, 0, 0),
    SD_BUS_VTABLE_END,
};

bool bus_log_register(sd_bus *bus, GError **error)
{
    int r = sd_bus_add_object_vtable(bus, NULL, OBJECT_PATH, INTERFACE, vtable, NULL);

    return r >= 0 || bus_set_error(error, r, "cannot publish the log's control");
}
