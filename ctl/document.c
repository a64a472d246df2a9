/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What `render` and `lint` take in place of a libvirt. */

#include "ctl/document.h"

#include "ctl/verbs.h"
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOCUMENT_MAX (16 * 1024 * 1024)

/**
 * Reads a document. Any one must fit into memory, and a pipe may have no end.
 * @path: "-" is standard input
 * Returns: to be freed with g_free(), or NULL after saying why not.
 */
char *document_read(const char *path)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    g_autoptr(GString) text = NULL;
    char block[65536];
    gsize n;

    if (file == NULL) {
        (void)verb_fail("cannot open %s: %m", path);
        return NULL;
    }
    text = g_string_new(NULL);
    while (text->len <= DOCUMENT_MAX && (n = fread(block, 1, sizeof(block), file)) > 0)
        g_string_append_len(text, block, (gssize)n);
    bool failed = ferror(file) != 0;
    if (failed)
        (void)verb_fail("cannot read %s: %m", path);
    if (file != stdin)
        (void)fclose(file);
    if (failed)
        return NULL;
    if (text->len > DOCUMENT_MAX) {
        (void)verb_fail("%s is larger than 16 MiB, which is no domain", path);
        return NULL;
    }
    /* The library takes texts; a NUL would end this one unseen. */
    if (memchr(text->str, '\0', text->len) != NULL) {
        (void)verb_fail("%s has a NUL byte in it, which is no XML", path);
        return NULL;
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/**
 * Reads the policies for a --policy=, which takes the path of a file that is not installed, too.
 * @policy: the option's value, NULL if there is none; a path becomes the policy's name, freed and allocated anew
 * @errors: as with policy_set_load()
 * Returns: as policy_set_load()
 */
PolicySet *document_read_policies(char **policy, GPtrArray *errors)
{
    g_autofree char *path = NULL;

    if (*policy == NULL || (strchr(*policy, '/') == NULL && !g_str_has_suffix(*policy, ".policy")))
        return policy_set_load(verbs_root, errors);
    path = g_steal_pointer(policy);
    *policy = g_path_get_basename(path);
    if (!g_str_has_suffix(*policy, ".policy")) {
        g_ptr_array_add(errors, g_strdup_printf("%s: the name of a policy's file ends in .policy", path));
        return NULL;
    }
    (*policy)[strlen(*policy) - strlen(".policy")] = '\0';
    return policy_set_load_with(verbs_root, path, errors);
}

/**
 * Reads a --libvirt-version=.
 * @text: NULL: that of the libvirt here
 * Returns: false after saying that it is none.
 */
bool document_read_version(const char *text, unsigned long *ret_version)
{
    static const char *const pattern = "^([0-9]{1,3})\\.([0-9]{1,3})(?:\\.([0-9]{1,3}))?$";
    g_autoptr(GRegex) regex = NULL;
    g_autoptr(GMatchInfo) match = NULL;
    unsigned long parts[3] = {0};

    if (text == NULL)
        return virGetVersion(ret_version, NULL, NULL) == 0;
    regex = g_regex_new(pattern, G_REGEX_DOLLAR_ENDONLY, 0, NULL);
    if (!g_regex_match(regex, text, 0, &match)) {
        (void)fprintf(stderr, "virtnestctl: --libvirt-version=%s: takes a version such as 10.7.0\n", text);
        return false;
    }
    for (int i = 0; i < 3; i++) {
        g_autofree char *part = g_match_info_fetch(match, i + 1);
        parts[i] = part != NULL ? strtoul(part, NULL, 10) : 0;
    }
    *ret_version = 1000000 * parts[0] + 1000 * parts[1] + parts[2];
    return true;
}
