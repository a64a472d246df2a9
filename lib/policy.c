/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/policy.h"

#include "lib/conf-files.h"
#include "lib/error.h"
#include "lib/key-file.h"
#include <string.h>

#define SUFFIX ".policy"
#define FOLDER "policy.d"
#define POLICIES_MAX 1000

static const KeySpec key_specs[] = {
    {"Policy", "Description"}, {"CPU", "Mode"},    {"CPU", "Model"},   {"CPU", "Fallback"}, {"CPU", "Check"},
    {"CPU", "Migratable"},     {"CPU", "Require"}, {"CPU", "Disable"}, {"CPU", "Optional"}, {"CPU", "RewriteOwned"},
};

struct PolicySet {
    gatomicrefcount references;
    GHashTable *policies; /* name -> Policy */
};

static Policy *policy_free(Policy *policy)
{
    if (policy == NULL)
        return NULL;
    g_free(policy->name);
    g_free(policy->path);
    g_free(policy->description);
    cpu_policy_clear(&policy->cpu);
    g_free(policy);
    return NULL;
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Policy, policy_free)

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
    g_autofree char *value = key_file_string(file, "CPU", key);

    if (value == NULL || policy->cpu.mode == mode)
        return true;
    g_autofree char *accepts =
        g_strdup_printf("a value with Mode=%s, and none with any other", cpu_mode_to_string(mode));
    key_file_set_error(file, "CPU", key, accepts, error);
    return false;
}

/* Each feature is a feature, and named once. @seen: all features of the policy so far */
static bool read_features(const GPtrArray *files, const char *key, GHashTable *seen, GStrv *features, GError **error)
{
    const KeyFile *file = source_of(files, "CPU", key);

    *features = key_file_list(file, "CPU", key);
    for (gsize i = 0; *features != NULL && (*features)[i] != NULL; i++) {
        const char *feature = (*features)[i];
        if (!cpu_feature_name_is_valid(feature)) {
            key_file_set_error(file, "CPU", key, "names of CPU features, separated by ';'", error);
            return false;
        }
        if (!g_hash_table_add(seen, (gpointer)feature)) {
            g_autofree char *accepts = g_strdup_printf(
                "each feature once, here or in another of Require=, Disable= and Optional=; '%s' is there twice",
                feature);
            key_file_set_error(file, "CPU", key, accepts, error);
            return false;
        }
    }
    return true;
}

static bool policy_read_features(Policy *policy, const GPtrArray *files, GError **error)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

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
    return check_mode_of_key(policy, files, "Model", CPU_MODE_CUSTOM, error);
}

static bool policy_read_migratable(Policy *policy, const GPtrArray *files, GError **error)
{
    const KeyFile *file = source_of(files, "CPU", "Migratable");
    g_autofree char *text = key_file_string(file, "CPU", "Migratable");
    bool migratable = true;

    if (!check_mode_of_key(policy, files, "Migratable", CPU_MODE_HOST_PASSTHROUGH, error) ||
        !key_file_boolean(file, "CPU", "Migratable", &migratable, error))
        return false;
    if (text != NULL)
        policy->cpu.migratable = g_strdup(migratable ? "on" : "off");
    return true;
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

/*
 * The policy's file and the drop-ins onto it, in the order in which they count.
 * @errors: gets a text for each that cannot be read, and for each group and key that is unknown
 */
static GPtrArray *policy_load_files(const char *root, const char *path, GPtrArray *errors)
{
    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func(key_file_destroy);
    g_autoptr(GPtrArray) paths = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *base = g_path_get_basename(path);
    g_autofree char *folder = g_strdup_printf(FOLDER "/%s.d", base);

    if (!conf_files_list(root, folder, ".conf", &paths, &error)) {
        g_ptr_array_add(errors, g_strdup(error->message));
        return g_steal_pointer(&files);
    }
    g_ptr_array_insert(paths, 0, g_strdup(path));
    for (guint i = 0; i < paths->len; i++) {
        g_autoptr(GError) cause = NULL;
        KeyFile *file = key_file_load(paths->pdata[i], &cause);
        if (file == NULL) {
            g_ptr_array_add(errors, g_strdup(cause->message));
            continue;
        }
        key_file_find_unknown(file, key_specs, G_N_ELEMENTS(key_specs), errors);
        g_ptr_array_add(files, file);
    }
    return g_steal_pointer(&files);
}

/* @errors: gets a text for each thing that is wrong with the policy's files */
static Policy *policy_load(const char *root, const char *path, GPtrArray *errors)
{
    guint errors_before = errors->len;
    g_autoptr(GPtrArray) files = policy_load_files(root, path, errors);
    g_autoptr(Policy) policy = g_new0(Policy, 1);
    g_autoptr(GError) error = NULL;
    g_autofree char *base = g_path_get_basename(path);

    policy->name = g_strndup(base, strlen(base) - strlen(SUFFIX));
    policy->path = g_strdup(path);
    policy->cpu.mode = CPU_MODE_HOST_MODEL;
    if (!tag_policy_name_is_valid(policy->name))
        g_ptr_array_add(
            errors, g_strdup_printf("%s: '%s' is not a policy's name: letters, digits, '_', '.' and '-', at most 64",
                                    path, policy->name));
    if (files->len > 0) {
        policy->description = key_file_string(source_of(files, "Policy", "Description"), "Policy", "Description");
        if (!policy_read_cpu(policy, files, &error))
            g_ptr_array_add(errors, g_strdup(error->message));
    }
    return errors->len == errors_before ? g_steal_pointer(&policy) : NULL;
}

/**
 * Reads all policies below a root. Either all are good, or there is no set.
 * @errors: empty; gets a text, freed by the array, for each thing that is wrong
 * Returns: to be given back with policy_set_unref(), or NULL if @errors got any.
 */
PolicySet *policy_set_load(const char *root, GPtrArray *errors)
{
    g_autoptr(PolicySet) set = g_new0(PolicySet, 1);
    g_autoptr(GPtrArray) paths = NULL;
    g_autoptr(GError) error = NULL;

    g_atomic_ref_count_init(&set->references);
    set->policies = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, policy_destroy);
    if (!conf_files_list(root, FOLDER, SUFFIX, &paths, &error)) {
        g_ptr_array_add(errors, g_strdup(error->message));
        return NULL;
    }
    if (paths->len > POLICIES_MAX) {
        g_ptr_array_add(errors, g_strdup_printf("%u policies, and %u are the most that are read", paths->len,
                                                (unsigned)POLICIES_MAX));
        return NULL;
    }
    for (guint i = 0; i < paths->len; i++) {
        Policy *policy = policy_load(root, paths->pdata[i], errors);
        if (policy != NULL)
            g_hash_table_insert(set->policies, policy->name, policy);
    }
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
        g_clear_pointer(&set->policies, g_hash_table_unref);
        g_free(set);
    }
    return NULL;
}

/**
 * Chooses the policy for a domain.
 * @set: NULL if there never was a valid one
 * @tag: the domain's tag, enabled
 * Returns: owned by @set, or NULL with VIRTNEST_ERROR_POLICY.
 */
const Policy *policy_set_resolve(const PolicySet *set, const Tag *tag, GError **error)
{
    const char *name = tag->policy != NULL ? tag->policy : VIRTNEST_DEFAULT_POLICY;
    const Policy *policy = set != NULL ? g_hash_table_lookup(set->policies, name) : NULL;

    if (set == NULL)
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_POLICY,
                            "no policies are loaded, since a policy file is wrong; see ConfigurationErrors");
    else if (policy == NULL)
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_POLICY,
                    "the policy '%s' does not exist; create %s/policy.d/%s" SUFFIX " or tag the domain with another",
                    name, VIRTNEST_SYSCONFDIR, name);
    return policy;
}
