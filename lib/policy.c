/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/policy.h"

#include "lib/conf-files.h"
#include "lib/duration.h"
#include "lib/error.h"
#include "lib/key-file.h"
#include <string.h>

#define SUFFIX ".policy"
#define FOLDER "policy.d"
#define DROP_INS_SUFFIX ".d"
#define POLICIES_MAX 1000
/* No processor has so many, and what libvirt is given to check shall have an end. */
#define FEATURES_MAX 256
/* Room for most digests, so that they do not grow letter by letter. */
#define DIGEST_USUAL 256

#define PRIORITY_MAX 1000000
#define QUIET_AFTER_MIN_USEC G_USEC_PER_SEC
#define QUIET_AFTER_MAX_USEC (3600 * (guint64)G_USEC_PER_SEC)

static const KeySpec key_specs[] = {
    {"Policy", "Description"}, {"Match", "Name"},       {"Match", "UUID"},         {"Match", "Title"},
    {"Match", "OS"},           {"Match", "Metadata"},   {"Match", "Tagged"},       {"Match", "Priority"},
    {"CPU", "Mode"},           {"CPU", "Model"},        {"CPU", "Fallback"},       {"CPU", "Check"},
    {"CPU", "Migratable"},     {"CPU", "Require"},      {"CPU", "Disable"},        {"CPU", "Optional"},
    {"CPU", "RewriteOwned"},   {"HyperV", "EVMCS"},     {"HyperV", "EMSRBitmap"},  {"HyperV", "TLBFlushDirect"},
    {"Guard", "BlockWhen"},    {"Guard", "QuietAfter"}, {"Guard", "ReleaseAfter"}, {"Guard", "OnUnknown"},
    {"Guard", "Platforms"},    {"Host", "OnNotReady"},
};

static const char *const when_names[] = {
    [GUARD_WHEN_RUNNING] = "running",
    [GUARD_WHEN_SEEN] = "seen",
    [GUARD_WHEN_ALWAYS] = "always",
    [GUARD_WHEN_NEVER] = "never",
    NULL,
};

struct PolicySet {
    gatomicrefcount references;
    GHashTable *policies; /* name -> Policy */
    GPtrArray *matching;  /* those with a [Match] that takes somebody, highest priority first, then by name */
};

const char *guard_when_to_string(GuardWhen when)
{
    return when_names[when];
}

/** Returns: what counts where no file says otherwise. */
GuardPolicy guard_policy_default(void)
{
    return (GuardPolicy){
        .block_when = GUARD_WHEN_RUNNING,
        .quiet_after_usec = 5 * (guint64)G_USEC_PER_SEC,
        .release_after_usec = 600 * (guint64)G_USEC_PER_SEC,
        .block_unknown = true,
    };
}

Policy *policy_free(Policy *policy)
{
    if (policy == NULL)
        return NULL;
    g_free(policy->name);
    g_free(policy->path);
    g_strfreev(policy->drop_ins);
    g_free(policy->description);
    g_free(policy->digest);
    match_clear(&policy->match);
    cpu_policy_clear(&policy->cpu);
    g_free(policy);
    return NULL;
}

static void policy_destroy(gpointer policy)
{
    policy_free(policy);
}

/* The last of a policy's files that sets a key, if only to nothing; its first file where none does. */
static const KeyFile *source_of(const GPtrArray *files, const char *group, const char *key)
{
    for (guint i = files->len; i > 1; i--)
        if (key_file_has_key(files->pdata[i - 1], group, key))
            return files->pdata[i - 1];
    return files->pdata[0];
}

/* A word that goes into the XML as it is. */
static bool read_word(const GPtrArray *files, const char *key, const char *const *choices, char **word, GError **error)
{
    int choice = -1;

    if (!key_file_choice(source_of(files, "CPU", key), "CPU", key, choices, &choice, error))
        return false;
    if (choice >= 0)
        *word = g_strdup(choices[choice]);
    return true;
}

/* A key that only one mode has a use for. */
static bool check_mode_of_key(const Policy *policy, const GPtrArray *files, const char *key, CpuMode mode,
                              GError **error)
{
    const KeyFile *file = source_of(files, "CPU", key);
    const char *value = key_file_value(file, "CPU", key);

    if (value == NULL || policy->cpu.mode == mode)
        return true;
    g_autofree char *accepts =
        g_strdup_printf("a value with Mode=%s, and none with any other", cpu_mode_to_string(mode));
    key_file_set_error(file, "CPU", key, accepts, error);
    return false;
}

/*
 * Each feature is a feature, and named once; they are few, so that each is compared with all before it.
 * @seen: all features of the policy so far, room for one more than FEATURES_MAX
 */
static bool read_features(const GPtrArray *files, const char *key, const char **seen, GStrv *features, GError **error)
{
    const KeyFile *file = source_of(files, "CPU", key);
    gsize n = 0;

    while (seen[n] != NULL)
        n++;
    *features = key_file_list(file, "CPU", key);
    for (gsize i = 0; *features != NULL && (*features)[i] != NULL; i++) {
        const char *feature = (*features)[i];
        if (!cpu_feature_name_is_valid(feature)) {
            key_file_set_error(file, "CPU", key, "names of CPU features, separated by ';'", error);
            return false;
        }
        if (n > 0 && g_strv_contains(seen, feature)) {
            g_autofree char *accepts = g_strdup_printf(
                "each feature once, here or in another of Require=, Disable= and Optional=; '%s' is there twice",
                feature);
            key_file_set_error(file, "CPU", key, accepts, error);
            return false;
        }
        if (n == FEATURES_MAX) {
            key_file_set_error(file, "CPU", key,
                               "at most " G_STRINGIFY(FEATURES_MAX) " features, together with Require=, Disable= and "
                                                                    "Optional=",
                               error);
            return false;
        }
        seen[n++] = feature;
    }
    return true;
}

static bool policy_read_features(Policy *policy, const GPtrArray *files, GError **error)
{
    const char *seen[FEATURES_MAX + 1] = {NULL};

    if (!read_features(files, "Require", seen, &policy->cpu.require, error) ||
        !read_features(files, "Disable", seen, &policy->cpu.disable, error) ||
        !read_features(files, "Optional", seen, &policy->cpu.optional, error))
        return false;
    /* What the policy exists for cannot be taken away by it. */
    const char *const *disabled = (const char *const *)policy->cpu.disable;
    if (disabled != NULL && (g_strv_contains(disabled, "vmx") || g_strv_contains(disabled, "svm"))) {
        key_file_set_error(source_of(files, "CPU", "Disable"), "CPU", "Disable",
                           "any feature but vmx and svm; `<nesting enabled='no'/>` switches nesting off", error);
        return false;
    }
    return true;
}

static bool policy_read_mode(Policy *policy, const GPtrArray *files, GError **error)
{
    const KeyFile *file = source_of(files, "CPU", "Mode");
    int mode = (int)policy->cpu.mode;

    if (!key_file_choice(file, "CPU", "Mode", cpu_mode_names, &mode, error))
        return false;
    policy->cpu.mode = (CpuMode)mode;
    policy->cpu.model = key_file_string(source_of(files, "CPU", "Model"), "CPU", "Model");
    if (policy->cpu.model == NULL && policy->cpu.mode == CPU_MODE_CUSTOM) {
        key_file_set_error(file, "CPU", "Mode", "custom with a Model= beside it, such as Model=EPYC-Rome", error);
        return false;
    }
    if (policy->cpu.model != NULL && !cpu_model_name_is_valid(policy->cpu.model)) {
        key_file_set_error(source_of(files, "CPU", "Model"), "CPU", "Model",
                           "the name of a CPU model, such as EPYC-Rome; `virsh cpu-models x86_64` lists them", error);
        return false;
    }
    return check_mode_of_key(policy, files, "Model", CPU_MODE_CUSTOM, error);
}

static bool policy_read_migratable(Policy *policy, const GPtrArray *files, GError **error)
{
    const KeyFile *file = source_of(files, "CPU", "Migratable");
    const char *text = key_file_value(file, "CPU", "Migratable");
    bool migratable = true;

    if (!check_mode_of_key(policy, files, "Migratable", CPU_MODE_HOST_PASSTHROUGH, error) ||
        !key_file_boolean(file, "CPU", "Migratable", &migratable, error))
        return false;
    if (text != NULL)
        policy->cpu.migratable = g_strdup(migratable ? "on" : "off");
    return true;
}

/* A choice between two words, of which the second means true. */
static bool read_either(const GPtrArray *files, const char *group, const char *key, const char *const words[3],
                        bool *second, GError **error)
{
    int choice = *second;

    if (!key_file_choice(source_of(files, group, key), group, key, words, &choice, error))
        return false;
    *second = choice == 1;
    return true;
}

static bool policy_read_match(Policy *policy, const GPtrArray *files, GError **error)
{
    const struct {
        const char *key;
        GStrv *list;
    } lists[] = {{"Name", &policy->match.names},
                 {"UUID", &policy->match.uuids},
                 {"Title", &policy->match.titles},
                 {"OS", &policy->match.oses},
                 {"Metadata", &policy->match.namespaces}};
    static const char *const useless[] = {
        "Tagged",
        "Priority",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(lists); i++)
        *lists[i].list = key_file_list(source_of(files, "Match", lists[i].key), "Match", lists[i].key);
    for (gsize i = 0; policy->match.uuids != NULL && policy->match.uuids[i] != NULL; i++)
        if (!g_uuid_string_is_valid(policy->match.uuids[i])) {
            key_file_set_error(source_of(files, "Match", "UUID"), "Match", "UUID",
                               "UUIDs such as 6695eb01-f6a4-8304-79aa-97f2502e193f, separated by ';'", error);
            return false;
        }
    policy->match.tagged = true;
    if (!key_file_boolean(source_of(files, "Match", "Tagged"), "Match", "Tagged", &policy->match.tagged, error) ||
        !key_file_integer(source_of(files, "Match", "Priority"), "Match", "Priority", -PRIORITY_MAX, PRIORITY_MAX,
                          &policy->match.priority, error))
        return false;
    /* Alone they would do nothing, and nobody writes them for that; or, in the admin's mind, take every domain. */
    for (gsize i = 0; i < G_N_ELEMENTS(useless) && !match_has_condition(&policy->match); i++) {
        const KeyFile *file = source_of(files, "Match", useless[i]);
        const char *value = key_file_value(file, "Match", useless[i]);
        /* A drop-in that empties the conditions switches the match off, whatever else is left of it. */
        if (value == NULL || files->len > 1)
            continue;
        key_file_set_error(file, "Match", useless[i],
                           "a value beside Name=, UUID=, Title=, OS= or Metadata=; Name=* matches every domain", error);
        return false;
    }
    return true;
}

static bool policy_read_hyperv(Policy *policy, const GPtrArray *files, GError **error)
{
    static const char *const keys[] = {
        [HYPERV_EVMCS] = "EVMCS",
        [HYPERV_EMSR_BITMAP] = "EMSRBitmap",
        [HYPERV_TLBFLUSH_DIRECT] = "TLBFlushDirect",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        const KeyFile *file = source_of(files, "HyperV", keys[i]);
        const char *value = key_file_value(file, "HyperV", keys[i]);
        bool on = false;
        if (!key_file_boolean(file, "HyperV", keys[i], &on, error))
            return false;
        policy->hyperv.wishes[i] = value == NULL ? HYPERV_LEAVE : on ? HYPERV_ON : HYPERV_OFF;
    }
    return true;
}

static bool policy_read_guard(Policy *policy, const GPtrArray *files, GError **error)
{
    static const char *const on_unknown[] = {"allow", "block", NULL}, *const platforms[] = {"all", "unsafe", NULL};
    GuardPolicy *guard = &policy->guard;
    int when = (int)guard->block_when;

    if (!key_file_choice(source_of(files, "Guard", "BlockWhen"), "Guard", "BlockWhen", when_names, &when, error) ||
        !key_file_duration(source_of(files, "Guard", "QuietAfter"), "Guard", "QuietAfter", QUIET_AFTER_MIN_USEC,
                           QUIET_AFTER_MAX_USEC, &guard->quiet_after_usec, error) ||
        !key_file_duration(source_of(files, "Guard", "ReleaseAfter"), "Guard", "ReleaseAfter", 0, DURATION_INFINITE,
                           &guard->release_after_usec, error) ||
        !read_either(files, "Guard", "OnUnknown", on_unknown, &guard->block_unknown, error) ||
        !read_either(files, "Guard", "Platforms", platforms, &guard->only_unsafe, error))
        return false;
    guard->block_when = (GuardWhen)when;
    return true;
}

static bool policy_read_host(Policy *policy, const GPtrArray *files, GError **error)
{
    static const char *const words[] = {"skip", "apply", NULL};

    return read_either(files, "Host", "OnNotReady", words, &policy->apply_unready, error);
}

static bool policy_read_cpu(Policy *policy, const GPtrArray *files, GError **error)
{
    static const char *const fallbacks[] = {"forbid", "allow", NULL};
    static const char *const checks[] = {"none", "partial", "full", NULL};

    return policy_read_mode(policy, files, error) &&
           check_mode_of_key(policy, files, "Fallback", CPU_MODE_CUSTOM, error) &&
           read_word(files, "Fallback", fallbacks, &policy->cpu.fallback, error) &&
           read_word(files, "Check", checks, &policy->cpu.check, error) &&
           policy_read_migratable(policy, files, error) && policy_read_features(policy, files, error) &&
           key_file_boolean(source_of(files, "CPU", "RewriteOwned"), "CPU", "RewriteOwned", &policy->rewrite_owned,
                            error);
}

static void key_file_destroy(gpointer file)
{
    key_file_free(file);
}

static void add_file(GPtrArray *files, const char *path, GPtrArray *errors)
{
    g_autoptr(GError) cause = NULL;
    KeyFile *file = key_file_load(path, &cause);

    if (file == NULL) {
        g_ptr_array_add(errors, g_strdup(cause->message));
        return;
    }
    key_file_find_unknown(file, key_specs, G_N_ELEMENTS(key_specs), errors);
    g_ptr_array_add(files, file);
}

/*
 * The policy's file and the drop-ins onto it, in the order in which they count.
 * @folders: the names of all folders of drop-ins; of a thousand policies most have none, and need not look for one
 * @errors: gets a text for each that cannot be read, and for each group and key that is unknown
 */
static GPtrArray *policy_load_files(const char *root, const char *path, GHashTable *folders, GPtrArray *errors)
{
    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func(key_file_destroy);
    g_autoptr(GPtrArray) paths = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = g_strconcat(FOLDER, strrchr(path, '/'), DROP_INS_SUFFIX, NULL);

    if (g_hash_table_contains(folders, folder + strlen(FOLDER "/")) &&
        !conf_files_list(root, folder, ".conf", &paths, &error)) {
        g_ptr_array_add(errors, g_strdup(error->message));
        return g_steal_pointer(&files);
    }
    add_file(files, path, errors);
    for (guint i = 0; paths != NULL && i < paths->len; i++)
        add_file(files, paths->pdata[i], errors);
    return g_steal_pointer(&files);
}

static void digest_list(GString *out, char **list)
{
    for (; list != NULL && *list != NULL; list++)
        g_string_append_c(g_string_append(out, *list), ';');
    g_string_append_c(out, '\n');
}

static void digest_string(GString *out, const char *text)
{
    g_string_append_c(g_string_append(out, text != NULL ? text : ""), '\n');
}

/* In hexadecimal; printf() for a thousand policies would be a good part of what loading them costs. */
static void digest_number(GString *out, guint64 number)
{
    for (; number > 0; number >>= 4)
        g_string_append_c(out, "0123456789abcdef"[number & 0xf]);
    g_string_append_c(out, ' ');
}

/* Of what the policy does. What only a human reads, and [Match], which is asked for each domain anyway, are not in it. */
static char *policy_digest(const Policy *policy)
{
    const CpuPolicy *cpu = &policy->cpu;
    const GuardPolicy *guard = &policy->guard;
    GString *out = g_string_sized_new(DIGEST_USUAL);

    digest_string(out, cpu_mode_to_string(cpu->mode));
    digest_string(out, cpu->model);
    digest_string(out, cpu->fallback);
    digest_string(out, cpu->check);
    digest_string(out, cpu->migratable);
    digest_list(out, cpu->require);
    digest_list(out, cpu->disable);
    digest_list(out, cpu->optional);
    for (gsize i = 0; i < G_N_ELEMENTS(policy->hyperv.wishes); i++)
        digest_number(out, (guint64)policy->hyperv.wishes[i]);
    digest_number(out, (guint64)guard->block_when);
    digest_number(out, guard->quiet_after_usec);
    digest_number(out, guard->release_after_usec);
    digest_number(out, (guint64)guard->block_unknown << 3 | (guint64)guard->only_unsafe << 2 |
                           (guint64)policy->apply_unready << 1 | (guint64)policy->rewrite_owned);
    return g_string_free(out, FALSE);
}

static GStrv paths_from(const GPtrArray *files, guint first)
{
    GStrv paths = g_new0(char *, files->len - first + 1);

    for (guint i = first; i < files->len; i++)
        paths[i - first] = g_strdup(key_file_path(files->pdata[i]));
    return paths;
}

/* @errors: gets a text for each thing that is wrong with the policy's files; there may be some already */
static Policy *policy_from_files(const char *path, const GPtrArray *files, GPtrArray *errors, guint errors_before)
{
    g_autoptr(Policy) policy = g_new0(Policy, 1);
    g_autoptr(GError) error = NULL;
    g_autofree char *base = g_path_get_basename(path);

    policy->name = g_str_has_suffix(base, SUFFIX) ? g_strndup(base, strlen(base) - strlen(SUFFIX)) : g_strdup(base);
    policy->path = g_strdup(path);
    policy->cpu.mode = CPU_MODE_HOST_MODEL;
    policy->guard = guard_policy_default();
    if (!tag_policy_name_is_valid(policy->name))
        g_ptr_array_add(
            errors, g_strdup_printf("%s: '%s' is not a policy's name: letters, digits, '_', '.' and '-', at most 64",
                                    path, policy->name));
    if (files->len > 0) {
        policy->drop_ins = paths_from(files, 1);
        policy->description = key_file_string(source_of(files, "Policy", "Description"), "Policy", "Description");
        if (!policy_read_match(policy, files, &error) || !policy_read_cpu(policy, files, &error) ||
            !policy_read_hyperv(policy, files, &error) || !policy_read_guard(policy, files, &error) ||
            !policy_read_host(policy, files, &error))
            g_ptr_array_add(errors, g_strdup(error->message));
        policy->digest = policy_digest(policy);
    }
    return errors->len == errors_before ? g_steal_pointer(&policy) : NULL;
}

/* @errors: gets a text for each thing that is wrong with the policy's files */
static Policy *policy_load(const char *root, const char *path, GHashTable *folders, GPtrArray *errors)
{
    guint errors_before = errors->len;
    g_autoptr(GPtrArray) files = policy_load_files(root, path, folders, errors);

    return policy_from_files(path, files, errors, errors_before);
}

/**
 * Reads one policy from one file, wherever it lies and without drop-ins, to see whether it is a good one.
 * @errors: gets a text, freed by the array, for each thing that is wrong
 * Returns: to be freed with policy_free(), or NULL if @errors got any.
 */
Policy *policy_load_file(const char *path, GPtrArray *errors)
{
    guint errors_before = errors->len;
    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func(key_file_destroy);

    add_file(files, path, errors);
    return policy_from_files(path, files, errors, errors_before);
}

/**
 * Sees whether a file is a good drop-in onto a policy, as far as that can be told without the policy: that it can be
 * read, its groups and keys, and each value on its own. What its keys mean together with the policy's shows when both
 * are loaded.
 * @errors: gets a text, freed by the array, for each thing that is wrong
 */
void policy_check_drop_in(const char *path, GPtrArray *errors)
{
    guint errors_before = errors->len;
    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func(key_file_destroy);
    g_autoptr(Policy) policy = g_new0(Policy, 1);
    g_autoptr(GError) error = NULL;

    add_file(files, path, errors);
    if (errors->len > errors_before)
        return;
    /* Twice, since the rules for keys that need others do not hold for a file among several. */
    add_file(files, path, errors);
    if (!policy_read_match(policy, files, &error) || !policy_read_features(policy, files, &error) ||
        !policy_read_hyperv(policy, files, &error) || !policy_read_guard(policy, files, &error) ||
        !policy_read_host(policy, files, &error))
        g_ptr_array_add(errors, g_strdup(error->message));
}

static int compare_matching(gconstpointer a, gconstpointer b)
{
    const Policy *left = *(const Policy *const *)a, *right = *(const Policy *const *)b;

    if (left->match.priority != right->match.priority)
        return left->match.priority > right->match.priority ? -1 : 1;
    return strcmp(left->name, right->name);
}

static void policy_set_index(PolicySet *set)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, set->policies);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        if (match_has_condition(&((Policy *)value)->match))
            g_ptr_array_add(set->matching, value);
    g_ptr_array_sort(set->matching, compare_matching);
}

/* @path: of a policy's file, which takes the place of the one of its name */
static void install(GPtrArray *paths, const char *path)
{
    g_autofree char *name = g_path_get_basename(path);

    for (guint i = 0; i < paths->len; i++) {
        g_autofree char *other = g_path_get_basename(paths->pdata[i]);
        if (strcmp(other, name) == 0) {
            (void)g_ptr_array_remove_index(paths, i);
            break;
        }
    }
    g_ptr_array_add(paths, g_strdup(path));
}

/**
 * Reads all policies below a root. Either all are good, or there is no set.
 * @errors: empty; gets a text, freed by the array, for each thing that is wrong
 * Returns: to be given back with policy_set_unref(), or NULL if @errors got any.
 */
PolicySet *policy_set_load(const char *root, GPtrArray *errors)
{
    return policy_set_load_with(root, NULL, errors);
}

/**
 * The same, as if one more file was installed in /etc; drop-ins for a policy of its name count for it.
 * @path: (nullable) of the file, whose name ends in .policy
 */
PolicySet *policy_set_load_with(const char *root, const char *path, GPtrArray *errors)
{
    g_autoptr(PolicySet) set = g_new0(PolicySet, 1);
    g_autoptr(GPtrArray) paths = NULL;
    g_autoptr(GHashTable) folders = NULL;
    g_autoptr(GError) error = NULL;

    g_atomic_ref_count_init(&set->references);
    set->policies = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, policy_destroy);
    set->matching = g_ptr_array_new();
    if (!conf_files_list(root, FOLDER, SUFFIX, &paths, &error) ||
        !conf_files_names(root, FOLDER, SUFFIX DROP_INS_SUFFIX, &folders, &error)) {
        g_ptr_array_add(errors, g_strdup(error->message));
        return NULL;
    }
    if (path != NULL)
        install(paths, path);
    if (paths->len > POLICIES_MAX) {
        g_ptr_array_add(errors, g_strdup_printf("%u policies, and %u are the most that are read", paths->len,
                                                (unsigned)POLICIES_MAX));
        return NULL;
    }
    for (guint i = 0; i < paths->len; i++) {
        Policy *policy = policy_load(root, paths->pdata[i], folders, errors);
        if (policy != NULL)
            g_hash_table_insert(set->policies, policy->name, policy);
    }
    policy_set_index(set);
    return errors->len == 0 ? g_steal_pointer(&set) : NULL;
}

PolicySet *policy_set_ref(PolicySet *set)
{
    g_atomic_ref_count_inc(&set->references);
    return set;
}

PolicySet *policy_set_unref(PolicySet *set)
{
    if (set != NULL && g_atomic_ref_count_dec(&set->references)) {
        g_clear_pointer(&set->matching, g_ptr_array_unref);
        g_clear_pointer(&set->policies, g_hash_table_unref);
        g_free(set);
    }
    return NULL;
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp((*(const Policy *const *)a)->name, (*(const Policy *const *)b)->name);
}

/** Returns: all policies by name, owned by @set; the array to be freed with g_ptr_array_unref(). */
GPtrArray *policy_set_list(const PolicySet *set)
{
    GPtrArray *list = g_ptr_array_new();
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, set->policies);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        g_ptr_array_add(list, value);
    g_ptr_array_sort(list, compare_names);
    return list;
}

/* Does it the same to the same domains? */
static bool is_same_policy(const Policy *a, const Policy *b)
{
    g_autofree char *match_a = match_describe(&a->match), *match_b = match_describe(&b->match);

    return strcmp(a->digest, b->digest) == 0 && g_strcmp0(match_a, match_b) == 0 &&
           a->match.tagged == b->match.tagged && a->match.priority == b->match.priority;
}

static void add_change(GPtrArray *texts, GPtrArray *names, const Policy *policy, const char *what)
{
    g_ptr_array_add(texts, g_strdup_printf("policy '%s' is %s", policy->name, what));
    g_ptr_array_add(names, g_strdup(policy->name));
}

/**
 * Tells two sets apart, neither of them NULL.
 * @names: gets the name, freed by the array, of each policy that is new, gone or another
 * Returns: a text for each of them, to be freed with g_ptr_array_unref().
 */
GPtrArray *policy_set_compare(const PolicySet *before, const PolicySet *now, GPtrArray *names)
{
    g_autoptr(GPtrArray) old = policy_set_list(before), list = policy_set_list(now);
    GPtrArray *texts = g_ptr_array_new_with_free_func(g_free);

    for (guint i = 0; i < list->len; i++) {
        const Policy *policy = list->pdata[i], *was = policy_set_lookup(before, policy->name);
        if (was == NULL)
            add_change(texts, names, policy, "new");
        else if (!is_same_policy(was, policy))
            add_change(texts, names, policy, "changed");
    }
    for (guint i = 0; i < old->len; i++) {
        const Policy *policy = old->pdata[i];
        if (policy_set_lookup(now, policy->name) == NULL)
            add_change(texts, names, policy, "gone");
    }
    return texts;
}

/**
 * @error: of policy_set_load(); each begins with the path of a file
 * Returns: the name of the policy that the file belongs to, to be freed with g_free(), or NULL if it is no policy's.
 */
char *policy_name_of_error(const char *error)
{
    const char *folder = strstr(error, "/" FOLDER "/");

    if (folder == NULL)
        return NULL;
    folder += strlen("/" FOLDER "/");
    g_autofree char *name = g_strndup(folder, strcspn(folder, "/:"));
    if (g_str_has_suffix(name, SUFFIX DROP_INS_SUFFIX))
        name[strlen(name) - strlen(SUFFIX DROP_INS_SUFFIX)] = '\0';
    else if (g_str_has_suffix(name, SUFFIX))
        name[strlen(name) - strlen(SUFFIX)] = '\0';
    return tag_policy_name_is_valid(name) ? g_steal_pointer(&name) : NULL;
}

/** Returns: the policy of that name, owned by @set, or NULL. Both may be NULL. */
const Policy *policy_set_lookup(const PolicySet *set, const char *name)
{
    return set != NULL && name != NULL ? g_hash_table_lookup(set->policies, name) : NULL;
}

/** Returns: the name of the policy that was probably meant, which the set keeps, or NULL. */
const char *policy_set_nearest(const PolicySet *set, const char *name)
{
    g_autoptr(GPtrArray) policies = policy_set_list(set), names = g_ptr_array_new();

    for (guint i = 0; i < policies->len; i++)
        g_ptr_array_add(names, ((Policy *)policies->pdata[i])->name);
    g_ptr_array_add(names, NULL);
    return key_file_nearest(name, (const char *const *)names->pdata);
}

/** Frees what a choice holds, not the choice itself. */
void policy_choice_clear(PolicyChoice *choice)
{
    g_clear_pointer(&choice->reason, g_free);
}

/*
 * The policy of the highest priority whose [Match] takes the domain.
 * Returns: false if two of them are equal in that.
 */
static bool resolve_match(const PolicySet *set, bool tagged, const Subject *subject, const Policy **ret_policy,
                          GError **error)
{
    const Policy *found = NULL;

    for (guint i = 0; i < set->matching->len; i++) {
        const Policy *policy = set->matching->pdata[i];
        if (found != NULL && policy->match.priority < found->match.priority)
            break;
        if ((policy->match.tagged && !tagged) || !match_takes(&policy->match, subject))
            continue;
        if (found != NULL) {
            g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_POLICY,
                        "the policies '%s' (%s) and '%s' (%s) both match with priority %d; give one a higher Priority= "
                        "in [Match], or tag the domain with one of them",
                        found->name, found->path, policy->name, policy->path, found->match.priority);
            return false;
        }
        found = policy;
    }
    *ret_policy = found;
    return true;
}

static bool resolve_name(const PolicySet *set, const char *name, const Policy **ret_policy, GError **error)
{
    *ret_policy = policy_set_lookup(set, name);
    if (*ret_policy == NULL)
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_POLICY,
                    "the policy '%s' does not exist; create %s/policy.d/%s" SUFFIX " or tag the domain with another",
                    name, VIRTNEST_SYSCONFDIR, name);
    return *ret_policy != NULL;
}

/**
 * Chooses the policy for a domain: the one that its tag names; else the one of the highest priority that matches; else,
 * for a tagged domain, the one named default.
 * @set: NULL if there never was a valid one
 * @tag: the domain's tag, enabled; NULL if it has none
 * @ret_choice: to be cleared with policy_choice_clear(); its policy is @set's
 * Returns: false with VIRTNEST_ERROR_POLICY.
 */
bool policy_set_resolve(const PolicySet *set, const Tag *tag, const Subject *subject, PolicyChoice *ret_choice,
                        GError **error)
{
    PolicyChoice choice = {.chosen = POLICY_CHOSEN_NONE};

    if (set == NULL) {
        if (tag == NULL) {
            *ret_choice = choice;
            return true;
        }
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_POLICY,
                            "no policies are loaded, since a policy file is wrong; see ConfigurationErrors");
        return false;
    }
    if (tag != NULL && tag->policy != NULL) {
        if (!resolve_name(set, tag->policy, &choice.policy, error))
            return false;
        choice.chosen = POLICY_CHOSEN_BY_TAG;
        choice.reason = g_strdup("the tag names it");
        *ret_choice = choice;
        return true;
    }
    if (!resolve_match(set, tag != NULL, subject, &choice.policy, error))
        return false;
    if (choice.policy != NULL) {
        g_autofree char *conditions = match_describe(&choice.policy->match);
        choice.chosen = POLICY_CHOSEN_BY_MATCH;
        choice.reason =
            g_strdup_printf("its [Match] %s holds, with priority %d", conditions, choice.policy->match.priority);
    } else if (tag != NULL) {
        if (!resolve_name(set, VIRTNEST_DEFAULT_POLICY, &choice.policy, error))
            return false;
        choice.chosen = POLICY_CHOSEN_BY_DEFAULT;
        choice.reason = g_strdup("the tag names none, and no [Match] holds");
    }
    *ret_choice = choice;
    return true;
}
