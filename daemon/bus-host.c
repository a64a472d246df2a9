/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.virtnest1.Host, at /org/virtnest1. */

#include "daemon/bus-host.h"

#include "daemon/bus.h"
#include <gio/gio.h>
#include <string.h>

#define INTERFACE "org.virtnest1.Host"

static const char *host_string(const Manager *manager, const char *property)
{
    const Readiness *readiness = manager_readiness(manager);
    const HostSurvey *survey = readiness_survey(readiness);
    const Platform platform = manager_platform(manager);
    const struct {
        const char *property;
        const char *value;
    } strings[] = {
        {"Architecture", survey->arch},
        {"Vendor", host_vendor_to_string(survey->facts.vendor)},
        {"Module", survey->module},
        {"Hypervisor", survey->hypervisor == NULL    ? "none"
                       : *survey->hypervisor == '\0' ? "unknown"
                                                     : survey->hypervisor},
        {"Nested", host_nested_to_string(survey->nested)},
        {"NestedAtBoot", host_nested_to_string(survey->nested_at_boot)},
        {"Platform", platform_verdict_to_string(platform.verdict)},
        {"PlatformReason", platform.reason},
        {"PlatformSource", platform.source},
        {"Verdict", check_verdict_to_string(checks_verdict(readiness_checks(readiness)))},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(strings); i++)
        if (strcmp(strings[i].property, property) == 0 && strings[i].value != NULL)
            return strings[i].value;
    return "";
}

static int get_string(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED, const char *interface G_GNUC_UNUSED,
                      const char *property, sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    readiness_refresh(manager_readiness(data));
    /* Files of the host may hold any bytes. */
    g_autofree char *value = g_utf8_make_valid(host_string(data, property), -1);

    return sd_bus_message_append(reply, "s", value);
}

static int get_boolean(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED, const char *interface G_GNUC_UNUSED,
                       const char *property, sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    readiness_refresh(manager_readiness(data));
    const HostSurvey *survey = readiness_survey(manager_readiness(data));
    int value = strcmp(property, "ModuleLoaded") == 0 ? survey->module_loaded : host_survey_reboot_required(survey);

    return sd_bus_message_append(reply, "b", value);
}

/* Deeper than its own hypervisor no guest sees. */
static int get_level(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED, const char *interface G_GNUC_UNUSED,
                     const char *property G_GNUC_UNUSED, sd_bus_message *reply, void *data,
                     sd_bus_error *error G_GNUC_UNUSED)
{
    return sd_bus_message_append(reply, "u", readiness_survey(manager_readiness(data))->hypervisor != NULL ? 1U : 0U);
}

static int get_checks(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED, const char *interface G_GNUC_UNUSED,
                      const char *property G_GNUC_UNUSED, sd_bus_message *reply, void *data,
                      sd_bus_error *error G_GNUC_UNUSED)
{
    readiness_refresh(manager_readiness(data));
    const GPtrArray *checks = readiness_checks(manager_readiness(data));
    int r = sd_bus_message_open_container(reply, 'a', "(sssss)");

    for (guint i = 0; r >= 0 && i < checks->len; i++) {
        const Check *check = checks->pdata[i];
        r = sd_bus_message_append(reply, "(sssss)", check->id, check_verdict_to_string(check->verdict), check->found,
                                  check->why, check->todo);
    }
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_problems(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED, const char *interface G_GNUC_UNUSED,
                        const char *property G_GNUC_UNUSED, sd_bus_message *reply, void *data,
                        sd_bus_error *error G_GNUC_UNUSED)
{
    readiness_refresh(manager_readiness(data));
    const GPtrArray *checks = readiness_checks(manager_readiness(data));
    int r = sd_bus_message_open_container(reply, 'a', "s");

    for (guint i = 0; r >= 0 && i < checks->len; i++) {
        const Check *check = checks->pdata[i];
        g_autofree char *problem = check->verdict != CHECK_PASS ? check_problem(check) : NULL;
        if (problem != NULL)
            r = sd_bus_message_append(reply, "s", problem);
    }
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_PROPERTY("Architecture", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Vendor", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Hypervisor", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("NestingLevel", "u", get_level, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Module", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("ModuleLoaded", "b", get_boolean, 0, CHANGES),
    SD_BUS_PROPERTY("Nested", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("NestedAtBoot", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("RebootRequired", "b", get_boolean, 0, CHANGES),
    SD_BUS_PROPERTY("Platform", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("PlatformReason", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("PlatformSource", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("Verdict", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("Checks", "a(sssss)", get_checks, 0, CHANGES),
    SD_BUS_PROPERTY("Problems", "as", get_problems, 0, CHANGES),
    SD_BUS_VTABLE_END,
};

bool bus_host_register(sd_bus *bus, Manager *manager, GError **error)
{
    int r = sd_bus_add_object_vtable(bus, NULL, VIRTNEST_BUS_PATH, INTERFACE, vtable, manager);

    return r >= 0 || bus_set_error(error, r, "cannot publish the host");
}

/** @properties: names, ended by NULL */
void bus_host_changed(sd_bus *bus, const char *const *properties)
{
    (void)sd_bus_emit_properties_changed_strv(bus, VIRTNEST_BUS_PATH, INTERFACE, (char **)properties);
}
