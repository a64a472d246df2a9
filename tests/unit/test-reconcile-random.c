/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/reconcile.c on documents that nobody thought of: there and back, with and without edits by hand in between. */

#include "lib/reconcile.h"

#include "tests/unit/util.h"
#include <string.h>

/* Writes a document piece by piece, in a layout of its own. */
typedef struct Writer {
    GString *out;
    const char *line_end;
    const char *indent;
    char quote;
} Writer;

static const char *pick(const char *const *choices, gsize n)
{
    return choices[g_test_rand_int_range(0, (gint32)n)];
}

#define PICK(...) pick((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static bool chance(int one_in)
{
    return g_test_rand_int_range(0, one_in) == 0;
}

/* In @piece, ' is the quote of attributes. */
static void put(Writer *writer, unsigned level, const char *piece)
{
    g_autofree char *quoted = g_strdelimit(g_strdup(piece), "'", writer->quote);

    g_string_append(writer->out, writer->line_end);
    for (unsigned i = 0; i < level; i++)
        g_string_append(writer->out, writer->indent);
    g_string_append(writer->out, quoted);
}

static void put_sometimes(Writer *writer, unsigned level, const char *piece)
{
    if (chance(2))
        put(writer, level, piece);
}

typedef struct RandomDomain {
    char *text;          /* tagged, or to be tagged by its live definition */
    char *off;           /* the same with the tag switched off */
    gsize cpu_start;     /* of its <cpu> in @text, or where one may be put if there is none */
    gsize off_cpu_start; /* the same in @off */
    gsize cpu_from_end;  /* the bytes behind it, in both */
    char *tag_on, *tag_off;
    bool live_tag;
    bool has_mode; /* its <cpu> names a mode or a model */
    const char *mode;
    const char *svm; /* the policy of svm in it, or NULL */
    const char *policy;
} RandomDomain;

static RandomDomain *random_domain_free(RandomDomain *domain)
{
    if (domain == NULL)
        return NULL;
    g_free(domain->text);
    g_free(domain->off);
    g_free(domain->tag_on);
    g_free(domain->tag_off);
    g_free(domain);
    return NULL;
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RandomDomain, random_domain_free)

static void put_metadata(Writer *writer, RandomDomain *domain)
{
    static const char *const others[] = {
        "<x xmlns='urn:x'/>",          "<a:b xmlns:a='urn:a>b' c='/>'><cpu>inner</cpu></a:b>",
        "<!-- <cpu/> </metadata> -->", "<y xmlns='urn:y'><![CDATA[</metadata>]]>&lt;cpu/&gt;</y>",
        "<?pi </metadata> ?>",         "\xd1\x82\xd0\xb5\xd0\xba\xd1\x81\xd1\x82",
    };
    int shape = g_test_rand_int_range(0, 10);

    domain->live_tag = shape < 4;
    if (shape == 0)
        return;
    if (shape == 1) {
        put(writer, 1, PICK("<metadata/>", "<metadata />", "<metadata a='&lt;>'/>"));
        return;
    }
    put(writer, 1, PICK("<metadata>", "<metadata >", "<metadata a='>'>"));
    unsigned n = shape == 2 ? 0 : (unsigned)g_test_rand_int_range(0, 3);
    for (unsigned i = 0; i < n; i++)
        put(writer, 2, pick(others, G_N_ELEMENTS(others)));
    if (!domain->live_tag)
        put(writer, 2, domain->tag_on);
    for (unsigned i = 0; i < n; i++)
        put_sometimes(writer, 2, pick(others + 2, G_N_ELEMENTS(others) - 2));
    put(writer, 1, PICK("</metadata>", "</metadata >"));
}

static void put_cpu(Writer *writer, RandomDomain *domain)
{
    static const char *const names[] = {"svm", "pcid", "mpx", "a&gt;b", "x2apic"};
    static const char *const feature_policies[] = {"require", "disable", "optional", "forbid", "force"};
    int shape = g_test_rand_int_range(0, 9);
    bool features = true;

    domain->has_mode = shape >= 3;
    domain->mode = "custom";
    gsize mark = writer->out->len;
    if (shape == 0) {
        domain->cpu_start = mark;
        return;
    }
    if (shape == 1) {
        put(writer, 1, PICK("<cpu/>", "<cpu></cpu>", "<cpu\t>\n\n</cpu >", "<cpu><!-- </cpu> --></cpu>"));
    } else {
        const char *model = NULL;
        if (shape == 2) {
            put(writer, 1, PICK("<cpu>", "<cpu >", "<cpu mode='custom'>"));
            features = false;
        } else if (shape == 3) {
            put(writer, 1, PICK("<cpu mode='host-model'>", "<cpu mode='host-model' check='partial'>"));
            domain->mode = "host-model";
        } else if (shape == 4) {
            put(writer, 1, PICK("<cpu mode='host-model' check='none'>", "<cpu check='full'\tmode = 'host-model'>"));
            domain->mode = "host-model";
        } else if (shape == 5) {
            put(writer, 1,
                PICK("<cpu mode='host-passthrough' check='none' migratable='off'>", "<cpu mode='host-passthrough'>"));
            domain->mode = "host-passthrough";
        } else if (shape == 6) {
            put(writer, 1, "<cpu mode='maximum' check='none' migratable='on'>");
            domain->mode = "maximum";
        } else {
            put(writer, 1,
                PICK("<cpu mode='custom' match='exact' check='partial'>", "<cpu match='strict' check='none'>",
                     "<cpu>"));
            model = PICK("<model fallback='forbid'>EPYC</model>", "<model vendor_id='KVMKVMKVMKVM'>EPYC-Rome</model>",
                         "<model fallback='allow'><![CDATA[qemu64]]></model>", "<model>\n\tSkylake-Server </model>");
        }
        put_sometimes(writer, 2, "<!-- mine: \xc5\x99 > & ' -->");
        if (model != NULL) {
            put(writer, 2, model);
            put_sometimes(writer, 2, "<vendor>AMD</vendor>");
        }
        put_sometimes(writer, 2,
                      PICK("<topology sockets='1' dies='1' cores='4' threads='1'/>",
                           "<topology sockets='1' cores='1' threads='1' />"));
        put_sometimes(writer, 2, PICK("<cache mode='passthrough'/>", "<cache level='3' mode='emulate'></cache>"));
        put_sometimes(writer, 2, "<maxphysaddr mode='emulate' bits='42'/>");
        for (gsize i = 0; features && i < G_N_ELEMENTS(names); i++) {
            if (chance(2))
                continue;
            const char *feature_policy = pick(feature_policies, G_N_ELEMENTS(feature_policies));
            g_autofree char *feature = g_strdup_printf("<feature policy='%s' name='%s'/>", feature_policy, names[i]);
            put(writer, 2, feature);
            if (i == 0)
                domain->svm = feature_policy;
        }
        put_sometimes(writer, 2, "<numa><cell id='0' cpus='0-3' memory='1024' unit='KiB'/></numa>");
        put_sometimes(writer, 2, PICK("<quantum>1 &amp; 2</quantum>", "<quantum xmlns='urn:q'/>", "<?pi x?>"));
        put(writer, 1, PICK("</cpu>", "</cpu\t>"));
    }
    domain->cpu_start = mark + strlen(writer->line_end) + strlen(writer->indent);
}

static RandomDomain *random_domain_new(void)
{
    static const char *const policy_names[] = {"default", "passthrough", "custom", "keep"};
    RandomDomain *domain = g_new0(RandomDomain, 1);
    Writer writer = {
        .out = g_string_new(NULL),
        .line_end = PICK("\n", "\n", "\r\n", "", "\n\n"),
        .indent = PICK("  ", "  ", "\t", "", " "),
        .quote = chance(2) ? '\'' : '"',
    };
    const char *prefix = PICK("", "n:");

    domain->policy = pick(policy_names, G_N_ELEMENTS(policy_names));
    domain->tag_on = g_strdup_printf("<%snesting enabled='yes' policy='%s' xmlns%s'urn:virtnest:domain:1'/>", prefix,
                                     domain->policy, *prefix != '\0' ? ":n=" : "=");
    g_strdelimit(domain->tag_on, "'", writer.quote);
    g_string_append(writer.out, PICK("", "", "\xef\xbb\xbf", "<?xml version='1.0' encoding='UTF-8'?>\n"));
    g_string_append(writer.out, PICK("", "", "<!-- <domain><cpu/></domain> -->\n", "<?pi?>"));
    g_string_append(writer.out, PICK("<domain type='kvm'>", "<domain\n type = \"kvm\" id='>' >",
                                     "<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"));
    put(&writer, 1,
        PICK("<name>web1</name>", "<name><![CDATA[<cpu/>]]></name>", "<name>\xe6\x97\xa5\xf0\x9f\x90\x8e</name>",
             "<name>&lt;cpu&#x3e;&amp;</name>"));
    put_sometimes(&writer, 1, "<uuid>0f4c9d3e-3d2b-4c4f-8a0b-6f4e2c1d0a11</uuid>");
    put_sometimes(&writer, 1, "<genid>43dc0cf8-809b-4adb-9bea-a9abb5f3d90e</genid>");
    put_sometimes(&writer, 1, PICK("<title>a &gt; b</title>", "<title/>"));
    put_sometimes(&writer, 1, "<description>one\n\n  two <![CDATA[</description><cpu/>]]></description>");
    put_metadata(&writer, domain);
    put(&writer, 1, "<memory unit='KiB'>262144</memory>");
    put_sometimes(&writer, 1, "<vcpu>4</vcpu>");
    put_sometimes(&writer, 1, "<cputune><shares>1</shares></cputune>");
    put_sometimes(&writer, 1, "<q:cpu xmlns:q='urn:q'><cpu/></q:cpu>");
    put(&writer, 1, "<os><type arch='x86_64' machine='pc'>hvm</type></os>");
    put_sometimes(&writer, 1,
                  PICK("<features/>", "<features><acpi/><hyperv><relaxed state='on'/></hyperv></features>"));
    put_cpu(&writer, domain);
    gsize cpu_end = writer.out->len;
    put_sometimes(&writer, 1, "<clock offset='utc'/>");
    put_sometimes(&writer, 1, "<!-- <cpu/> -->");
    put(&writer, 1,
        "<devices><emulator>/usr/bin/qemu</emulator><disk><source file='a&apos;b>&lt;.img'/></disk></devices>");
    put_sometimes(&writer, 1, "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'/>");
    put(&writer, 0, "</domain>");
    g_string_append(writer.out, PICK("", "\n", "\n<!-- <cpu/> -->\n"));

    domain->cpu_from_end = writer.out->len - cpu_end;
    domain->text = g_string_free(writer.out, FALSE);
    domain->tag_off = util_replace(domain->tag_on, "yes", "no");
    domain->off =
        domain->live_tag ? g_strdup(domain->text) : util_replace(domain->text, domain->tag_on, domain->tag_off);
    domain->off_cpu_start = domain->cpu_start - (strlen(domain->text) - strlen(domain->off));
    return domain;
}

/* With the tag; the live definition, where that has it, says nothing of the CPU that would matter. */
static Reconcile *decide_random(const RandomDomain *domain, const char *text)
{
    g_autofree char *live = g_strdup_printf("<domain type='kvm'><metadata>%s</metadata></domain>", domain->tag_on);

    return util_decide(&util_amd_host, text, domain->live_tag ? live : NULL);
}

/* Without: the tag switched off, or the guest shut off. */
static char *restored_random(const RandomDomain *domain, const char *text)
{
    g_autofree char *off = domain->live_tag ? g_strdup(text) : util_replace(text, domain->tag_on, domain->tag_off);

    return util_restored(off);
}

/* Takes a range out, and the white space before it. */
static void cut(GString *text, const char *from, const char *to)
{
    const char *start = strstr(text->str, from);
    const char *end = start != NULL ? strstr(start, to) : NULL;

    g_assert_nonnull(end);
    end += strlen(to);
    while (start > text->str && g_ascii_isspace(start[-1]))
        start--;
    g_string_erase(text, start - text->str, end - start);
}

/* Outside of <cpu> and the state element @new_xml must have the bytes of the original, whatever is tested here says. */
static void assert_only_cpu_and_state(const RandomDomain *domain, const char *new_xml)
{
    GString *rest = g_string_new(new_xml);
    const char *container = strstr(new_xml, " container=\"");
    bool made = container != NULL && g_str_has_prefix(container, " container=\"\"");

    cut(rest, "<virtnest:state ", "</virtnest:state>");
    if (made)
        cut(rest, "<metadata>", "</metadata>");
    gsize head = domain->cpu_start, tail = domain->cpu_from_end;
    if (container != NULL && !made) {
        /* The self-closed one was opened: compare behind it only. */
        head = 0;
    }
    g_assert_cmpuint(rest->len, >, head + tail);
    g_assert_cmpmem(rest->str, head, domain->text, head);
    g_assert_cmpmem(rest->str + rest->len - tail, tail, domain->text + strlen(domain->text) - tail, tail);
    if (head > 0) {
        g_autofree char *middle = g_strndup(rest->str + head, rest->len - tail - head);
        g_strstrip(middle);
        g_assert_true(g_str_has_prefix(middle, "<cpu"));
        g_assert_true(g_str_has_suffix(middle, "</cpu>"));
    }
    g_string_free(rest, TRUE);
}

static void test_random(void)
{
    unsigned n_rewritten = 0;

    for (unsigned round = 0; round < 1500; round++) {
        g_autoptr(RandomDomain) domain = random_domain_new();
        g_autoptr(Reconcile) r = decide_random(domain, domain->text);
        if (r->state == RECONCILE_ERROR) {
            g_assert_cmpstr(domain->policy, ==, "keep");
            g_assert_false(domain->has_mode);
            g_assert_null(r->new_xml);
            continue;
        }
        if (r->new_xml == NULL)
            continue;
        n_rewritten++;
        assert_only_cpu_and_state(domain, r->new_xml);

        g_autoptr(Reconcile) again = decide_random(domain, r->new_xml);
        g_assert_null(again->new_xml);
        util_assert_state(again, domain->live_tag ? RECONCILE_PENDING_RESTART : RECONCILE_IN_SYNC);
        g_autofree char *back = restored_random(domain, r->new_xml);
        util_assert_same(back, domain->off);

        g_autofree char *formatted = util_libvirt_metadata(r->new_xml);
        g_autoptr(Reconcile) quiet = decide_random(domain, formatted);
        g_assert_null(quiet->new_xml);
    }
    g_test_message("%u documents were rewritten", n_rewritten);
    g_assert_cmpuint(n_rewritten, >, 500);
}

/* Edits <cpu> as somebody would with `virsh edit`. */
static char *edit_by_hand(const char *text, bool *ret_feature, bool *ret_topology, bool *ret_removed)
{
    g_autofree char *cpu = util_cpu_of(text);
    GString *edited = g_string_new(cpu);
    char *end = g_strrstr(edited->str, "</cpu");

    *ret_feature = chance(2);
    *ret_topology = chance(2);
    *ret_removed = false;
    g_assert_nonnull(end);
    if (*ret_feature)
        g_string_insert(edited, end - edited->str, "<feature policy='disable' name='by-hand'/>");
    if (*ret_topology) {
        if (strstr(edited->str, "<topology") != NULL)
            cut(edited, "<topology", "/>");
        end = g_strrstr(edited->str, "</cpu");
        g_string_insert(edited, end - edited->str, "<topology sockets='1' dies='1' cores='31' threads='1'/>");
    }
    if (strstr(edited->str, "name=\"pcid\"/>") != NULL && chance(2)) {
        const char *name = strstr(edited->str, "name=\"pcid\"/>");
        g_autofree char *before = g_strndup(edited->str, name - edited->str);
        gsize start = g_strrstr(before, "<feature") - before;
        g_string_erase(edited, (gssize)start, name + strlen("name=\"pcid\"/>") - edited->str - start);
        *ret_removed = true;
    }
    char *result = util_with_cpu(text, edited->str);
    g_string_free(edited, TRUE);
    return result;
}

static void test_random_edits(void)
{
    unsigned n_edited = 0;

    for (unsigned round = 0; round < 1500; round++) {
        g_autoptr(RandomDomain) domain = random_domain_new();
        g_autoptr(Reconcile) r = decide_random(domain, domain->text);
        bool feature, topology, removed;
        if (r->new_xml == NULL)
            continue;
        g_autofree char *edited = edit_by_hand(r->new_xml, &feature, &topology, &removed);
        n_edited++;

        /* Whether virtnest sees the edit while the tag is there, or only once it is gone. */
        g_autoptr(Reconcile) seen = decide_random(domain, edited);
        g_assert_true(seen->state == RECONCILE_IN_SYNC || seen->state == RECONCILE_PENDING_RESTART);
        const char *now = seen->new_xml != NULL && chance(2) ? seen->new_xml : edited;
        g_autofree char *back = restored_random(domain, now);
        g_autofree char *cpu = util_cpu_of(back);
        g_autoptr(GError) error = NULL;
        g_autoptr(xmlDoc) doc = xml_parse_fragment(*cpu != '\0' ? cpu : "<cpu/>", &error);
        g_assert_no_error(error);
        g_autofree char *svm = NULL, *by_hand = NULL, *cores = NULL, *pcid = NULL;
        for (const xmlNode *child = xmlDocGetRootElement(doc)->children; child != NULL; child = child->next) {
            g_autofree char *name = child->type == XML_ELEMENT_NODE ? xml_attribute(child, "name") : NULL;
            if (g_strcmp0(name, "svm") == 0)
                svm = xml_attribute(child, "policy");
            else if (g_strcmp0(name, "by-hand") == 0)
                by_hand = xml_attribute(child, "policy");
            else if (g_strcmp0(name, "pcid") == 0)
                pcid = xml_attribute(child, "policy");
            else if (xml_is_element(child, "topology"))
                cores = xml_attribute(child, "cores");
        }
        /* Ours is gone, theirs is there, and the mode is theirs unless a feature needs one. */
        g_assert_cmpstr(svm, ==, domain->svm);
        g_assert_cmpstr(by_hand, ==, feature ? "disable" : NULL);
        if (topology)
            g_assert_cmpstr(cores, ==, "31");
        if (removed)
            g_assert_null(pcid);
        g_autofree char *mode = xml_attribute(xmlDocGetRootElement(doc), "mode");
        if (domain->has_mode)
            g_assert_cmpstr(mode != NULL ? mode : "custom", ==, domain->mode);
        else if (feature)
            g_assert_cmpstr(mode, ==, r->wanted_cpu_mode);
        if (!feature && !topology && !removed)
            util_assert_same(back, domain->off);

        /* Nothing outside of it has changed. */
        g_assert_cmpuint(strlen(back), >=, domain->off_cpu_start + domain->cpu_from_end);
        g_assert_cmpmem(back, domain->off_cpu_start, domain->off, domain->off_cpu_start);
        g_assert_cmpmem(back + strlen(back) - domain->cpu_from_end, domain->cpu_from_end,
                        domain->off + strlen(domain->off) - domain->cpu_from_end, domain->cpu_from_end);
    }
    g_test_message("%u documents were edited", n_edited);
    g_assert_cmpuint(n_edited, >, 500);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/reconcile-random/there-and-back", test_random);
    g_test_add_func("/reconcile-random/edits", test_random_edits);
    return g_test_run();
}
