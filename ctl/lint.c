/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl lint: what in a domain's definition stands in the way of guests of its own. */

#include "ctl/checks.h"
#include "ctl/document.h"
#include "ctl/guest.h"
#include "ctl/libvirt.h"
#include "ctl/verbs.h"
#include <string.h>

static char *arg_policy, *arg_host_root, *arg_libvirt_version;

/* A domain's name has no slash in it (virDomainDefPostParse(), src/conf/domain_postparse.c). */
static bool is_document(const char *argument)
{
    return strcmp(argument, "-") == 0 || strchr(argument, '/') != NULL || g_str_has_suffix(argument, ".xml");
}

static bool read_guest(Guest *guest, const char *argument, unsigned long version)
{
    if (is_document(argument)) {
        char *xml = document_read(argument);
        if (xml != NULL)
            guest_take_document(guest, xml, version);
        return xml != NULL;
    }
    g_autoptr(VirConnect) connection = libvirt_open();
    g_autoptr(VirDomain) domain = connection != NULL ? libvirt_find(connection, argument) : NULL;
    return domain != NULL && guest_read(guest, domain);
}

int verb_lint(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        CHECKS_ENTRIES,
        {"policy", 0, 0, G_OPTION_ARG_STRING, &arg_policy, "Judge what this policy would make of it", "NAME"},
        {"host-root", 0, 0, G_OPTION_ARG_FILENAME, &arg_host_root, "Look for the host's /proc and /sys below DIR",
         "DIR"},
        {"libvirt-version", 0, 0, G_OPTION_ARG_STRING, &arg_libvirt_version,
         "For a file: as if the host had this libvirt (the one here)", "VERSION"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    JsonFormat format = JSON_OFF;
    unsigned long version = 0;
    g_autoptr(GError) error = NULL;

    json_replace_j(argc, argv);
    if (!verb_parse(verb, options, 1, 1, &argc, &argv) || !checks_parse_format(&format) ||
        !document_read_version(arg_libvirt_version, &version))
        return STATUS_USAGE;
    g_autoptr(Guest) guest = guest_new(arg_host_root);
    if (guest == NULL || !read_guest(guest, argv[1], version))
        return STATUS_FAILED;
    const Tag tag = {.policy = arg_policy, .enabled = true};
    if (arg_policy != NULL)
        guest->input.domain.tag = &tag;
    g_autoptr(GPtrArray) checks = guest_checks_lint(&guest->input, &error);
    return checks != NULL ? checks_print(checks, format) : verb_fail("%s: %s", argv[1], error->message);
}
