/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Judges a domain's definition: what of it keeps its guest from running guests of its own, well or at all. */

#include "lib/guest-judge.h"
#include <string.h>

#define GIB (1024ULL * 1024 * 1024)

/* What is judged ------------------------------------------------------------------------------------------------- */

static bool is_windows(const DomainXml *xml)
{
    g_autoptr(Subject) subject = subject_new(xml);
    const xmlNode *hyperv = xml_child(xml_child(domain_xml_root(xml), "features"), "hyperv");

    if (*subject->os != '\0')
        return g_str_has_prefix(subject->os, "http://microsoft.com/win/");
    /* Nobody else has a use for enlightenments. */
    return hyperv != NULL;
}

/* As a word of a command line; most names need no quotes. */
static char *quote(const char *name)
{
    for (const char *p = name; *p != '\0'; p++)
        if (!g_ascii_isalnum(*p) && strchr("-_.:@+", *p) == NULL)
            return g_shell_quote(name);
    return g_strdup(*name != '\0' ? name : "''");
}

/* Returns: vmx or svm, by the host or, where that has neither, by what the definition asks for; NULL: nobody can tell. */
static const char *choose_feature(const GuestJudge *judge)
{
    const char *feature = host_facts_feature(judge->input->domain.host);

    if (judge->is_emulated)
        return "svm";
    if (feature != NULL)
        return feature;
    return cpu_feature_policy(judge->cpu, "vmx") != NULL   ? "vmx"
           : cpu_feature_policy(judge->cpu, "svm") != NULL ? "svm"
                                                           : NULL;
}

/**
 * Reads what is to be judged.
 * Returns: false with VIRTNEST_ERROR_XML; then there is nothing to be cleared.
 */
bool guest_judge_init(GuestJudge *judge, const GuestInput *input, GError **error)
{
    g_autoptr(Reconcile) domain = reconcile_decide(&input->domain);
    const char *text = input->domain.tag != NULL && domain->new_xml != NULL ? domain->new_xml : input->domain.xml;
    g_autoptr(DomainXml) xml = domain_xml_parse(text, -1, error), live_xml = NULL;
    g_autoptr(Cpu) cpu = xml != NULL ? cpu_from_domain(xml, error) : NULL, live = NULL;

    if (cpu == NULL)
        return false;
    if (input->domain.live_xml != NULL) {
        live_xml = domain_xml_parse(input->domain.live_xml, -1, error);
        g_autoptr(Cpu) borrowed = live_xml != NULL ? cpu_from_domain(live_xml, error) : NULL;
        /* It is used beyond its document. */
        live = borrowed != NULL ? cpu_from_text(cpu_text(borrowed), error) : NULL;
        if (live == NULL)
            return false;
    }
    *judge = (GuestJudge){
        .input = input,
        .whole = xmlReadMemory(text, (int)strlen(text), NULL, NULL,
                               XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING),
        .name = quote(domain->name != NULL ? domain->name : ""),
        .is_x86 = g_strcmp0(domain->arch, "x86_64") == 0 || g_strcmp0(domain->arch, "i686") == 0,
        .is_emulated = g_strcmp0(domain->virt_type, "qemu") == 0,
        .is_windows = is_windows(xml),
        .checks = checks_new(),
    };
    judge->cpu = g_steal_pointer(&cpu);
    judge->live = g_steal_pointer(&live);
    judge->xml = g_steal_pointer(&xml);
    judge->domain = g_steal_pointer(&domain);
    judge->feature = choose_feature(judge);
    return true;
}

void guest_judge_clear(GuestJudge *judge)
{
    cpu_free(judge->cpu);
    cpu_free(judge->live);
    domain_xml_free(judge->xml);
    if (judge->whole != NULL)
        xmlFreeDoc(judge->whole);
    reconcile_free(judge->domain);
    g_free(judge->name);
    if (judge->checks != NULL)
        g_ptr_array_unref(judge->checks);
    *judge = (GuestJudge){0};
}

/* Commands ------------------------------------------------------------------------------------------------------- */

/* @option: the one that names a libvirt. Returns: the program as it reaches this one, to be freed with g_free(). */
static char *program(const GuestJudge *judge, const char *name, const char *option)
{
    g_autofree char *uri = judge->input->connect != NULL ? quote(judge->input->connect) : NULL;

    return uri != NULL ? g_strdup_printf("%s %s%s", name, option, uri) : g_strdup(name);
}

/** @command: with this domain behind it. Returns: to be freed with g_free(). */
char *guest_judge_virsh(const GuestJudge *judge, const char *command)
{
    g_autofree char *virsh = program(judge, "virsh", "-c ");

    return g_strdup_printf("%s %s %s", virsh, command, judge->name);
}

/** @command: with this domain behind it. Returns: to be freed with g_free(). */
char *guest_judge_virtnestctl(const GuestJudge *judge, const char *command)
{
    g_autofree char *virtnestctl = program(judge, "virtnestctl", "--connect=");

    return g_strdup_printf("%s %s %s", virtnestctl, command, judge->name);
}

/**
 * Tells a command that edits a definition; virsh runs what VISUAL says on a file, and defines what came of that.
 * @script: for sed; in single quotes within double ones
 * Returns: to be freed with g_free()
 */
char *guest_judge_edit(const GuestJudge *judge, const char *script)
{
    g_autofree char *edit = guest_judge_virsh(judge, "edit");

    return g_strdup_printf("VISUAL=\"sed -i '%s'\" %s", script, edit);
}

/* With the policy that changes least of what somebody has chosen. */
static char *tag_todo(const GuestJudge *judge)
{
    const char *mode = cpu_mode(judge->cpu);

    if (judge->is_windows)
        return guest_judge_virtnestctl(judge, "tag --policy=windows");
    if (strcmp(mode, "host-passthrough") == 0 && !judge->is_emulated)
        return guest_judge_virtnestctl(judge, "tag --policy=passthrough");
    if (strcmp(mode, "custom") == 0 && *cpu_model(judge->cpu) != '\0')
        return guest_judge_virtnestctl(judge, "tag --policy=keep");
    return guest_judge_virtnestctl(judge, "tag");
}

/** Returns: how a guest gets another CPU, to be freed with g_free(). */
char *guest_judge_restart(const GuestJudge *judge)
{
    g_autofree char *stop = guest_judge_virsh(judge, "shutdown"), *start = guest_judge_virsh(judge, "start");

    return g_strdup_printf("%s, and once it is off: %s (a reboot from inside is not enough)", stop, start);
}

/** Returns: what to do where virtnestd has not done yet what is due, or does not run; to be freed with g_free(). */
char *guest_judge_due(const GuestJudge *judge)
{
    g_autofree char *show = guest_judge_virtnestctl(judge, "show");

    return g_strdup_printf("systemctl start virtnestd; if it runs, %s tells what holds it", show);
}

/** Has the running guest, or an image, another CPU than the definition gives at the next start? */
bool guest_judge_is_stale(const GuestJudge *judge, const Cpu *running)
{
    if (judge->feature == NULL)
        return false;
    switch (cpu_live_compare(running, judge->cpu, judge->feature)) {
    case CPU_LIVE_CURRENT:
        return false;
    case CPU_LIVE_AMBIGUOUS:
        return judge->input->host_model != NULL && strcmp(cpu_model(running), judge->input->host_model) != 0;
    default:
        return true;
    }
}

/**
 * Adds a row on whether the running guest has the CPU that its next start brings.
 * @same, @other: what is found then
 */
void guest_judge_live(GuestJudge *judge, const char *id, const char *same, const char *other)
{
    static const char why[] = "A guest has the CPU that it was started with until it is off.";
    /* A read-only connection is not told what host-model is, and nobody is where libvirt has no KVM. */
    bool unknown =
        judge->feature == NULL || (judge->input->host_model == NULL &&
                                   cpu_live_compare(judge->live, judge->cpu, judge->feature) == CPU_LIVE_AMBIGUOUS);

    if (unknown)
        checks_add(judge->checks, id, CHECK_WARN, why, guest_judge_virtnestctl(judge, "show"),
                   g_strdup("libvirt does not tell what its CPU would be on this host; virtnestd's State does"));
    else if (guest_judge_is_stale(judge, judge->live))
        checks_add(judge->checks, id, CHECK_WARN, why, guest_judge_restart(judge), g_strdup(other));
    else
        checks_add(judge->checks, id, CHECK_PASS, why, NULL, g_strdup(same));
}

/* Domain and host ------------------------------------------------------------------------------------------------ */

static void check_policy(GuestJudge *judge)
{
    static const char why[] =
        "virtnestd gives the CPU to domains that have a policy, keeps it so, and guards them while they run guests.";
    const Reconcile *domain = judge->domain;
    g_autofree char *chosen =
        domain->policy != NULL ? g_strdup_printf("%s (%s)", domain->policy, domain->policy_path) : NULL;

    switch (domain->state) {
    case RECONCILE_ERROR:
        checks_add(judge->checks, "policy", CHECK_FAIL, why,
                   judge->is_x86 ? guest_judge_virtnestctl(judge, "tag --policy=POLICY")
                                 : g_strdup("see that architecture's way in virtnest(7)"),
                   g_strdup(domain->reason));
        break;
    case RECONCILE_OWNED:
        checks_add(
            judge->checks, "policy", CHECK_WARN, why,
            g_strdup("switch nesting on there, or set RewriteOwned=yes in a policy of your own"),
            g_strdup_printf("%s generates this domain's definition, and virtnestd leaves it alone", domain->owner));
        break;
    case RECONCILE_TRANSIENT: {
        g_autofree char *dump = guest_judge_virsh(judge, "dumpxml --inactive --security-info"),
                        *virsh = program(judge, "virsh", "-c ");
        checks_add(judge->checks, "policy", CHECK_WARN, why,
                   g_strdup_printf("%s >domain.xml && %s define domain.xml", dump, virsh),
                   g_strdup("it has no persistent definition that could be rewritten"));
        break;
    }
    case RECONCILE_UNTAGGED:
        checks_add(judge->checks, "policy", CHECK_WARN, why,
                   domain->new_xml != NULL ? guest_judge_due(judge) : tag_todo(judge),
                   g_strdup(domain->new_xml != NULL ? "none any more, and what virtnest wrote is there still"
                                                    : "it has no policy: virtnestd does nothing for it"));
        break;
    default:
        if (domain->new_xml != NULL && judge->input->domain.tag == NULL)
            checks_add(judge->checks, "policy", CHECK_WARN, why, guest_judge_due(judge),
                       g_strdup_printf("%s, which is not carried out: %s", chosen, domain->summary));
        else
            checks_add(judge->checks, "policy", CHECK_PASS, why, NULL,
                       g_strdup_printf("%s", chosen != NULL ? chosen : "none"));
    }
}

static void check_host(GuestJudge *judge)
{
    static const char emulated_why[] =
        "An emulated guest has SVM, and emulates its own guests once more: good for tests, too slow for work.";
    static const char why[] = "A guest that requires vmx or svm does not start on a host that cannot give it.";
    const HostFacts *facts = judge->input->domain.host;
    g_autofree char *problem = host_facts_problem(facts);

    if (judge->is_emulated) {
        checks_add(judge->checks, "host", CHECK_WARN, emulated_why,
                   guest_judge_edit(judge, "s/<domain type=.qemu./<domain type=\\\"kvm\\\"/"),
                   g_strdup("it is emulated (type='qemu'), and needs nothing of the host"));
    } else if (problem != NULL) {
        checks_add(judge->checks, "host", CHECK_FAIL, why, g_strdup("virtnestctl host"), g_steal_pointer(&problem));
    } else {
        checks_add(judge->checks, "host", CHECK_PASS, why, NULL,
                   g_strdup_printf("%s has nested on", host_facts_module(facts)));
    }
}

/* CPU ------------------------------------------------------------------------------------------------------------ */

static const char cpu_why[] =
    "Only a feature that <cpu> requires is there for certain: plain host-model and named models give no svm on AMD, and "
    "none says so.";

static void add_cpu(GuestJudge *judge, CheckVerdict verdict, char *found)
{
    /* Where a policy is in force, virtnestd writes it as soon as it can. */
    bool is_due = judge->domain->policy != NULL && judge->domain->new_xml != NULL && judge->input->domain.tag == NULL;

    checks_add(judge->checks, "cpu", verdict, cpu_why,
               verdict == CHECK_PASS ? NULL
               : is_due              ? guest_judge_due(judge)
                                     : tag_todo(judge),
               found);
}

static bool is_on(const char *policy)
{
    return g_strcmp0(policy, "require") == 0 || g_strcmp0(policy, "force") == 0;
}

/*
 * The definition does not mention the feature: what then comes of it. libvirt takes the models of its cpu_map for having svm,
 * and passes none on, where QEMU switches it off for KVM guests (kvm_default_props, target/i386/kvm/kvm-cpu.c).
 */
static void check_silent_cpu(GuestJudge *judge, const char *mode)
{
    const char *feature = judge->feature;
    bool is_intel = strcmp(feature, "vmx") == 0;

    if (judge->is_emulated)
        add_cpu(judge, CHECK_WARN, g_strdup("svm is not required; whether it has it depends on the model"));
    else if (*mode == '\0' || (strcmp(mode, "custom") == 0 && *cpu_model(judge->cpu) == '\0'))
        add_cpu(judge, CHECK_FAIL, g_strdup_printf("<cpu> names no model, and QEMU's default has no %s", feature));
    else if (strcmp(mode, "host-passthrough") == 0 || strcmp(mode, "maximum") == 0)
        add_cpu(judge, CHECK_WARN,
                g_strdup_printf("%s, which has %s where the host gives it, and starts without it where not", mode,
                                feature));
    else if (strcmp(mode, "host-model") == 0 && is_intel)
        add_cpu(judge, CHECK_WARN,
                g_strdup("host-model, which has vmx while kvm_intel has nested on, and starts "
                         "without it otherwise"));
    else if (strcmp(mode, "host-model") == 0)
        add_cpu(judge, CHECK_FAIL, g_strdup("host-model alone gives no svm on AMD"));
    else
        add_cpu(judge, CHECK_FAIL,
                g_strdup_printf("the model %s without %s required gives none", cpu_model(judge->cpu), feature));
}

static void check_cpu(GuestJudge *judge)
{
    const xmlNode *node = xml_child(domain_xml_root(judge->xml), "cpu");
    g_autofree char *check = xml_attribute(node, "check");
    const char *mode = cpu_mode(judge->cpu), *feature = judge->feature;

    if (feature == NULL) {
        add_cpu(judge, CHECK_WARN, g_strdup("neither vmx nor svm is mentioned, and this host's CPU has neither"));
        return;
    }
    const char *other = strcmp(feature, "vmx") == 0 ? "svm" : "vmx";
    const char *policy = cpu_feature_policy(judge->cpu, feature);
    if (judge->is_emulated && strcmp(mode, "host-passthrough") == 0)
        add_cpu(judge, CHECK_FAIL, g_strdup("host-passthrough, with which an emulated guest does not start"));
    else if (is_on(cpu_feature_policy(judge->cpu, other)))
        add_cpu(judge, CHECK_FAIL,
                g_strdup_printf("it requires %s, which %s: it does not start here", other,
                                judge->is_emulated ? "QEMU does not emulate" : "this host's CPU has not"));
    else if (g_strcmp0(policy, "disable") == 0 || g_strcmp0(policy, "forbid") == 0)
        add_cpu(judge, CHECK_FAIL, g_strdup_printf("%s is switched off (policy='%s')", feature, policy));
    else if (g_strcmp0(policy, "optional") == 0)
        add_cpu(judge, CHECK_WARN, g_strdup_printf("%s is optional: it starts without, and says nothing", feature));
    else if (policy == NULL)
        check_silent_cpu(judge, mode);
    else if (g_strcmp0(check, "none") == 0 && strcmp(mode, "host-passthrough") != 0)
        add_cpu(
            judge, CHECK_WARN,
            g_strdup_printf("%s is required, and with check='none' libvirt starts it without all the same", feature));
    else
        add_cpu(judge, CHECK_PASS, g_strdup_printf("%s, with %s required", mode, feature));
}

/* Machine and memory --------------------------------------------------------------------------------------------- */

static bool has_device(const GuestJudge *judge, const char *element, const char *type)
{
    const xmlNode *root = judge->whole != NULL ? xmlDocGetRootElement(judge->whole) : NULL;
    const xmlNode *devices = xml_child(root, "devices");

    for (const xmlNode *node = devices != NULL ? devices->children : NULL; node != NULL; node = node->next) {
        g_autofree char *value = xml_is_element(node, element) ? xml_attribute(node, "type") : NULL;
        if (xml_is_element(node, element) && (type == NULL || g_strcmp0(value, type) == 0))
            return true;
    }
    return false;
}

static void check_machine(GuestJudge *judge)
{
    static const char why[] =
        "Secure Boot with SMM, an IOMMU and PCI Express take the machine q35. Credential Guard and memory integrity want "
        "the first two, and a device that a guest hands on to its own guests the last two.";
    const char *machine = judge->domain->machine != NULL ? judge->domain->machine : "";
    bool is_old = strcmp(machine, "pc") == 0 || g_str_has_prefix(machine, "pc-i440fx") ||
                  g_str_has_prefix(machine, "pc-0.") || g_str_has_prefix(machine, "pc-1.");
    const char *need = judge->is_windows                     ? "Windows"
                       : has_device(judge, "hostdev", "pci") ? "a PCI device of the host"
                       : has_device(judge, "iommu", NULL)    ? "an <iommu>"
                                                             : NULL;

    g_autofree char *virt_xml = program(judge, "virt-xml", "--connect=");

    if (is_old && need != NULL)
        checks_add(judge->checks, "machine", CHECK_WARN, why,
                   g_strdup_printf("%s %s --edit --convert-to-q35 (virt-manager 5.0)", virt_xml, judge->name),
                   g_strdup_printf("%s, and it has %s", machine, need));
    else
        checks_add(judge->checks, "machine", CHECK_PASS, why, NULL,
                   g_strdup_printf("%s", *machine != '\0' ? machine : "libvirt's default"));
}

/* Returns: bytes; 0 if there is no such element or it is not understood. */
static guint64 read_size(const GuestJudge *judge, const char *element)
{
    static const struct {
        const char *name;
        guint64 bytes;
    } units[] = {
        {"b", 1},           {"bytes", 1},          {"KB", 1000},         {"k", 1024},         {"KiB", 1024},
        {"MB", 1000000},    {"M", 1024 * 1024},    {"MiB", 1024 * 1024}, {"G", GIB},          {"GiB", GIB},
        {"GB", 1000000000}, {"TB", 1000000000000}, {"T", 1024 * GIB},    {"TiB", 1024 * GIB},
    };
    const xmlNode *node = xml_child(domain_xml_root(judge->xml), element);
    g_autofree char *unit = xml_attribute(node, "unit"), *text = g_strstrip(xml_text(node));
    guint64 number = 0;

    if (!g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT64, &number, NULL))
        return 0;
    for (gsize i = 0; i < G_N_ELEMENTS(units); i++)
        if (strcmp(unit != NULL ? unit : "KiB", units[i].name) == 0)
            return number <= G_MAXUINT64 / units[i].bytes ? number * units[i].bytes : G_MAXUINT64;
    return 0;
}

static void check_memory(GuestJudge *judge)
{
    static const char why[] =
        "The guests of a guest live in its memory. Hyper-V, WSL2 and Docker Desktop want 8 GiB with what runs in them.";
    guint64 most = read_size(judge, "memory"), now = read_size(judge, "currentMemory");
    unsigned wanted_gib = judge->is_windows ? 8 : 2;
    guint64 has = now > 0 ? MIN(most, now) : most, wanted = wanted_gib * GIB;
    g_autofree char *size = g_format_size_full(has, G_FORMAT_SIZE_IEC_UNITS);
    const xmlNode *cpu = xml_child(domain_xml_root(judge->xml), "cpu");

    if (has >= wanted) {
        checks_add(judge->checks, "memory", CHECK_PASS, why, NULL, g_steal_pointer(&size));
        return;
    }
    g_autofree char *number = g_strdup_printf(" %uG --config", wanted_gib);
    g_autofree char *raise = guest_judge_virsh(judge, "setmaxmem"), *set = guest_judge_virsh(judge, "setmem"),
                    *edit = guest_judge_virsh(judge, "edit");
    checks_add(judge->checks, "memory", CHECK_WARN, why,
               /* libvirt refuses to change the sum of cells. */
               xml_child(cpu, "numa") != NULL ? g_strdup_printf("%s, and give its NUMA cells more", edit)
               : most < wanted                ? g_strdup_printf("%s%s && %s%s", raise, number, set, number)
                                              : g_strdup_printf("%s%s", set, number),
               g_strdup_printf("%s, less than %u GiB%s", size, wanted_gib,
                               has < most ? "; <currentMemory> keeps back what <memory> gives" : ""));
}

/**
 * Judges a definition.
 * Returns: Check in the order in which one leads to the next, to be freed with g_ptr_array_unref(); or NULL with
 * VIRTNEST_ERROR_XML.
 */
GPtrArray *guest_checks_lint(const GuestInput *input, GError **error)
{
    g_auto(GuestJudge) judge = {0};

    if (!guest_judge_init(&judge, input, error))
        return NULL;
    check_policy(&judge);
    if (judge.is_x86) {
        check_host(&judge);
        check_cpu(&judge);
        check_machine(&judge);
        check_memory(&judge);
        guest_judge_features(&judge);
        guest_judge_moves(&judge);
    }
    return g_ptr_array_ref(judge.checks);
}
