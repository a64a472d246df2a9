/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/util.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <glib/gstdio.h>

const char *const util_domains[] = {
    "blkiotune",
    "cpu-every-child",
    "cputune",
    "events",
    "graphics",
    "hostdev",
    "hyperv",
    "kernel-boot",
    "launch-security",
    "linux-9",
    "maximum",
    "memory-devices",
    "minimal",
    "nova",
    "numa-hugepages",
    "odd",
    "perf",
    "qemu-commandline",
    "qemu-tsc",
    "seclabels",
    "sysinfo",
    "tcg",
    "uefi-nvram",
    "utf8",
    "windows-11",
    NULL,
};

/* Documents ------------------------------------------------------------------------------------------------------- */

/** Returns: a document of tests/data/domain/, to be freed with g_free(). */
char *util_domain(const char *name)
{
    g_autofree char *base = g_strconcat(name, ".xml", NULL);
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, "data", "domain", base, NULL);
    g_autoptr(GError) error = NULL;
    char *text = NULL;

    (void)g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    return text;
}

/** Returns: a host-model guest of that many vCPUs, each pinned and in a NUMA cell of its own, and disks. */
char *util_big_domain(unsigned n_vcpus, unsigned n_devices)
{
    g_autofree char *base = util_domain("linux-9");
    GString *pins = g_string_new("<cputune>\n"), *cells = g_string_new("  <numa>\n"), *disks = g_string_new(NULL);

    for (unsigned i = 0; i < n_vcpus; i++) {
        g_string_append_printf(pins, "    <vcpupin vcpu='%u' cpuset='%u'/>\n", i, i);
        g_string_append_printf(cells, "      <cell id='%u' cpus='%u' memory='1048576' unit='KiB'/>\n", i, i);
    }
    for (unsigned i = 0; i < n_devices; i++)
        g_string_append_printf(disks,
                               "<disk type='file' device='disk'>\n      <driver name='qemu' type='raw'/>\n"
                               "      <source file='/srv/%u.img'/>\n      <target dev='sd%u' bus='scsi'/>\n"
                               "      <address type='drive' controller='0' bus='0' target='0' unit='%u'/>\n"
                               "    </disk>\n    ",
                               i, i, i);
    g_string_append(pins, "  </cputune>\n  ");
    g_string_append(cells, "    </numa>\n  ");
    g_autofree char *pinned = util_insert_before(base, "<os>", pins->str);
    g_autofree char *with_numa = util_insert_before(pinned, "</cpu>", cells->str);
    char *text = util_insert_before(with_numa, "<controller type='usb'", disks->str);
    g_string_free(pins, TRUE);
    g_string_free(cells, TRUE);
    g_string_free(disks, TRUE);
    return text;
}

/** Returns: the document, which must be a good one. */
DomainXml *util_parse(const char *text)
{
    g_autoptr(GError) error = NULL;
    DomainXml *xml = domain_xml_parse(text, -1, &error);

    g_assert_no_error(error);
    g_assert_nonnull(xml);
    return xml;
}

/** Returns: the bytes of an element, to be freed with g_free(). */
char *util_slice(const DomainXml *xml, const xmlNode *node)
{
    g_assert_nonnull(node);
    XmlSpan span = domain_xml_span(xml, node);
    return g_strndup(domain_xml_text(xml) + span.start, span.end - span.start);
}

/** Replaces the one place where @from stands; it is a failure of the test if there is none, or more than one. */
char *util_replace(const char *text, const char *from, const char *to)
{
    const char *found = strstr(text, from);

    util_assert_contains(text, from);
    g_assert_null(strstr(found + 1, from));
    return g_strdup_printf("%.*s%s%s", (int)(found - text), text, to, found + strlen(from));
}

/** Inserts text where @place first stands. */
char *util_insert_before(const char *text, const char *place, const char *inserted)
{
    const char *found = strstr(text, place);

    util_assert_contains(text, place);
    return g_strdup_printf("%.*s%s%s", (int)(found - text), text, inserted, found);
}

/** Puts something into a document's <metadata>, which is made if there is none. To be freed with g_free(). */
char *util_with_metadata(const char *text, const char *inserted)
{
    if (strstr(text, "<metadata/>") != NULL) {
        g_autofree char *full = g_strdup_printf("<metadata>%s</metadata>", inserted);
        return util_replace(text, "<metadata/>", full);
    }
    if (strstr(text, "</metadata") != NULL) {
        const char *end = g_strrstr(text, "</metadata");
        return g_strdup_printf("%.*s%s%s", (int)(end - text), text, inserted, end);
    }
    g_autofree char *full = g_strdup_printf("<metadata>\n    %s\n  </metadata>\n  ", inserted);
    return util_insert_before(text, "<memory", full);
}

/** Returns: a document of tests/data/domain/ with a tag in it, to be freed with g_free(). */
char *util_tagged(const char *domain, const char *tag)
{
    g_autofree char *text = util_domain(domain);

    return util_with_metadata(text, tag);
}

/** Ends each line with CR LF. */
char *util_crlf(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);

    return g_strjoinv("\r\n", lines);
}

/** Indents with a tab for each two spaces. */
char *util_tabs(const char *text)
{
    GString *out = g_string_new(text);

    g_string_replace(out, "  ", "\t", 0);
    return g_string_free(out, FALSE);
}

/** Takes out line ends and indentation. For documents in which no text has more than one line. */
char *util_one_line(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);

    for (gsize i = 0; lines[i] != NULL; i++)
        g_strstrip(lines[i]);
    return g_strjoinv("", lines);
}

/*
 * Does to <metadata> what libvirt does to it between a define and a dump: virXMLParse() and virXMLFormatMetadata()
 * (src/util/virxml.c) read it without blank nodes and write it anew with libxml2's own indentation.
 * Returns: to be freed with g_free()
 */
char *util_libvirt_metadata(const char *text)
{
    g_autoptr(xmlDoc) doc =
        xmlReadMemory(text, (int)strlen(text), NULL, NULL,
                      XML_PARSE_NOBLANKS | XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    g_autoptr(xmlBuffer) buffer = xmlBufferCreate();
    g_autoptr(DomainXml) xml = util_parse(text);
    int was_indented = xmlIndentTreeOutput;

    g_assert_nonnull(doc);
    xmlNode *metadata = xml_child(xmlDocGetRootElement(doc), "metadata");
    if (metadata == NULL)
        return g_strdup(text);
    xmlIndentTreeOutput = 1;
    xmlNodeDump(buffer, doc, metadata, 1, 1);
    xmlIndentTreeOutput = was_indented;
    XmlSpan span = domain_xml_span(xml, xml_child(domain_xml_root(xml), "metadata"));
    return g_strdup_printf("%.*s%s%s", (int)span.start, text, (const char *)xmlBufferContent(buffer), text + span.end);
}

/* Files ----------------------------------------------------------------------------------------------------------- */

UtilRoot *util_root_new(void)
{
    UtilRoot *root = g_new0(UtilRoot, 1);
    g_autoptr(GError) error = NULL;

    root->path = g_dir_make_tmp("root-XXXXXX", &error);
    g_assert_no_error(error);
    return root;
}

static void remove_tree(const char *path)
{
    struct stat status;

    if (lstat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
        (void)chmod(path, 0700);
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        const char *name;
        while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
            g_autofree char *child = g_build_filename(path, name, NULL);
            remove_tree(child);
        }
    }
    (void)g_remove(path);
}

UtilRoot *util_root_free(UtilRoot *root)
{
    if (root == NULL)
        return NULL;
    remove_tree(root->path);
    g_free(root->path);
    g_free(root);
    return NULL;
}

/** Returns: where a path below the root really is, to be freed with g_free(). */
char *util_root_path(const UtilRoot *root, const char *path)
{
    return g_build_filename(root->path, path, NULL);
}

static char *prepare(const UtilRoot *root, const char *path)
{
    char *full = util_root_path(root, path);
    g_autofree char *folder = g_path_get_dirname(full);

    g_assert_cmpint(g_mkdir_with_parents(folder, 0755), ==, 0);
    return full;
}

/** Writes a file below the root, with the folders that it needs. */
void util_root_write_bytes(const UtilRoot *root, const char *path, const char *data, gsize length)
{
    g_autofree char *full = prepare(root, path);
    g_autoptr(GError) error = NULL;

    (void)g_file_set_contents(full, data, (gssize)length, &error);
    g_assert_no_error(error);
}

void util_root_write(const UtilRoot *root, const char *path, const char *text)
{
    util_root_write_bytes(root, path, text, strlen(text));
}

void util_root_link(const UtilRoot *root, const char *path, const char *target)
{
    g_autofree char *full = prepare(root, path);

    g_assert_cmpint(symlink(target, full), ==, 0);
}

void util_root_folder(const UtilRoot *root, const char *path)
{
    g_autofree char *full = prepare(root, path);

    g_assert_cmpint(g_mkdir(full, 0755), ==, 0);
}

/**
 * Takes from this thread the capabilities with which root reads what a file's mode forbids, or gives them back.
 * Returns: false if the kernel refuses, so that nothing can be tested with it.
 */
bool util_set_override(bool allowed)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    const guint32 mask = (1U << CAP_DAC_OVERRIDE) | (1U << CAP_DAC_READ_SEARCH);

    if (syscall(SYS_capget, &header, data) != 0)
        return false;
    data[0].effective = allowed ? data[0].effective | (data[0].permitted & mask) : data[0].effective & ~mask;
    return syscall(SYS_capset, &header, data) == 0;
}

/* Decisions ------------------------------------------------------------------------------------------------------- */

const HostFacts util_amd_host = {
    .is_x86 = true, .vendor = HOST_VENDOR_AMD, .has_feature = true, .module_loaded = true, .nested = HOST_NESTED_YES};

/** Returns: policies named after their modes, "default" (host-model), and "owned" that rewrites what others generate. */
const PolicySet *util_all_policies(void)
{
    static const char *const files[][2] = {
        {"default", "[CPU]\nMode=host-model\n"},        {"passthrough", "[CPU]\nMode=host-passthrough\n"},
        {"custom", "[CPU]\nMode=custom\nModel=EPYC\n"}, {"keep", "[CPU]\nMode=keep\n"},
        {"owned", "[CPU]\nRewriteOwned=yes\n"},
    };
    static PolicySet *policies;

    if (policies == NULL) {
        g_autoptr(UtilRoot) root = util_root_new();
        g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);
        for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
            g_autofree char *path = g_strdup_printf("%s/policy.d/%s.policy", VIRTNEST_SYSCONFDIR, files[i][0]);
            util_root_write(root, path, files[i][1]);
        }
        policies = policy_set_load(root->path, errors);
        g_assert_nonnull(policies);
    }
    return policies;
}

/** Decides on a persistent domain without a managed-save image. */
Reconcile *util_decide(const HostFacts *host, const char *xml, const char *live_xml)
{
    const ReconcileInput input = {
        .xml = xml,
        .live_xml = live_xml,
        .persistent = true,
        .policies = util_all_policies(),
        .host = host,
    };

    return reconcile_decide(&input);
}

/** Returns: what a rewritten document becomes without its tag, which must be one that calls for nothing more. */
char *util_restored(const char *xml)
{
    g_autoptr(Reconcile) r = util_decide(&util_amd_host, xml, NULL);

    util_assert_state(r, RECONCILE_UNTAGGED);
    g_assert_nonnull(r->new_xml);
    g_autoptr(Reconcile) again = util_decide(&util_amd_host, r->new_xml, NULL);
    util_assert_state(again, RECONCILE_UNTAGGED);
    g_assert_null(again->new_xml);
    util_assert_lacks(r->new_xml, "virtnest:state");
    return g_strdup(r->new_xml);
}

/** Returns: the bytes of a document's <cpu>, "" if it has none. */
char *util_cpu_of(const char *text)
{
    g_autoptr(DomainXml) xml = util_parse(text);
    const xmlNode *node = xml_child(domain_xml_root(xml), "cpu");

    return node != NULL ? util_slice(xml, node) : g_strdup("");
}

/** Returns: the document with another <cpu> in place of its own. */
char *util_with_cpu(const char *text, const char *cpu)
{
    g_autoptr(DomainXml) xml = util_parse(text);
    XmlSpan span = domain_xml_span(xml, xml_child(domain_xml_root(xml), "cpu"));

    return g_strdup_printf("%.*s%s%s", (int)span.start, text, cpu, text + span.end);
}

/* Assertions ------------------------------------------------------------------------------------------------------ */

void util_assert_contains_at(const char *place, const char *text, const char *part)
{
    if (text == NULL || strstr(text, part) == NULL)
        g_error("%s: expected [%s] in [%s]", place, part, text != NULL ? text : "(null)");
}

void util_assert_lacks_at(const char *place, const char *text, const char *part)
{
    if (text == NULL || strstr(text, part) != NULL)
        g_error("%s: unexpected [%s] in [%s]", place, part, text != NULL ? text : "(null)");
}

void util_assert_same_at(const char *place, const char *text, const char *expected)
{
    gsize i = 0;

    if (g_strcmp0(text, expected) == 0)
        return;
    while (text != NULL && expected != NULL && text[i] != '\0' && text[i] == expected[i])
        i++;
    gsize from = i > 200 ? i - 200 : 0;
    g_error("%s: differs at byte %" G_GSIZE_FORMAT "\n--- expected\n%.400s\n--- found\n%.400s\n---", place, i,
            expected != NULL ? expected + from : "(null)", text != NULL ? text + from : "(null)");
}

void util_assert_state_at(const char *place, const Reconcile *reconcile, ReconcileState state)
{
    if (reconcile->state != state)
        g_error("%s: expected %s, found %s: %s", place, reconcile_state_to_string(state),
                reconcile_state_to_string(reconcile->state), reconcile->reason);
}

/* Rows of lib/check.h ------------------------------------------------------------------------------------------ */

/** Returns: the row with that id, of which there must be no second one; or NULL. */
const Check *util_check(const GPtrArray *checks, const char *id)
{
    const Check *found = NULL;

    for (guint i = 0; i < checks->len; i++) {
        const Check *check = checks->pdata[i];
        if (strcmp(check->id, id) != 0)
            continue;
        g_assert_null(found);
        found = check;
    }
    return found;
}

/** Each row says what was found and why it matters; each one that does not pass says what to do. */
void util_assert_checks(const GPtrArray *checks)
{
    g_assert_cmpuint(checks->len, >, 0);
    for (guint i = 0; i < checks->len; i++) {
        const Check *check = checks->pdata[i];
        g_assert_cmpstr(check->found, !=, "");
        g_assert_cmpstr(check->why, !=, "");
        g_assert_cmpint(*check->todo == '\0', ==, check->verdict == CHECK_PASS);
        g_assert_true(g_utf8_validate(check->found, -1, NULL));
        g_assert_true(g_utf8_validate(check->todo, -1, NULL));
    }
}

/** @expected: "VERDICT TEXT" with a part of what was found, and behind " => " one of what to do; "" if there is no row */
void util_assert_check(const GPtrArray *checks, const char *id, const char *expected)
{
    const Check *check = util_check(checks, id);
    g_auto(GStrv) parts = g_strsplit(expected, " => ", 2);
    g_autofree char *seen =
        check != NULL ? g_strdup_printf("%s %s", check_verdict_to_string(check->verdict), check->found) : g_strdup("");

    if (parts[0] == NULL) {
        g_assert_cmpstr(seen, ==, "");
        return;
    }
    g_assert_nonnull(check);
    g_test_message("%s: %s", id, seen);
    g_assert_true(g_str_has_prefix(parts[0], check_verdict_to_string(check->verdict)));
    util_assert_contains(seen, strchr(parts[0], ' ') + 1);
    if (parts[1] != NULL)
        util_assert_contains(check->todo, parts[1]);
}
