/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The INI files of virtnest. GKeyFile reads them, but it does not tell where a key stands; so the text is kept, and
 * searched when there is something to say.
 */

#include "lib/key-file.h"

#include "lib/duration.h"
#include "lib/error.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_SIZE_MAX (1024 * 1024)
/* A key that differs in more than a third of its letters is another word, not a slip of the finger. */
#define TYPO_LETTERS 3
/* Room for the groups and keys of most files. */
#define ENTRIES_USUAL 32
/* Each is looked for in the whole text, and nobody reads more. */
#define UNKNOWN_MAX 20

/* What the file says, in its order: each group with @key NULL, and behind it its keys. */
typedef struct Entry {
    const char *group;
    guint n_keys; /* of a group: that many entries behind it are its own */
    char *key;
    char *value; /* as it is written, without the white space at its ends */
} Entry;

/*
 * GKeyFile looks up group and key in tables, and makes a translated message for each that is not there. A policy asks for
 * nearly thirty keys of which most are not, in a thousand files: so what is there is taken out once.
 */
struct KeyFile {
    char *path;
    char *text;
    GStrv groups;
    GArray *entries; /* of Entry */
};

/*
 * A pipe would hold the reader for ever, and a device may have no end. A file that others may write would let them
 * rewrite guests, if it is root who reads it. Asked of the open file, so that it is the one that is read.
 */
static bool key_file_is_safe(const struct stat *status, GError **error)
{
    const char *problem = NULL;

    if (!S_ISREG(status->st_mode))
        problem = "not a regular file";
    else if (status->st_uid != 0 && geteuid() == 0)
        problem = "owned by another user than root, who could rewrite guests with it; chown root it";
    else if ((status->st_mode & S_IWOTH) != 0 && geteuid() == 0)
        problem = "writable for everybody, who could rewrite guests with it; chmod o-w it";
    else if (status->st_size > FILE_SIZE_MAX)
        problem = "larger than 1 MiB";
    if (problem != NULL)
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG, problem);
    return problem == NULL;
}

static bool set_errno(GError **error)
{
    int number = errno;

    g_set_error_literal(error, G_FILE_ERROR, g_file_error_from_errno(number), g_strerror(number));
    return false;
}

/* Returns: what the file holds, and one byte more if it grew since it was looked at, with a NUL behind it; or NULL. */
static char *read_all(int fd, gsize size, gsize *ret_length, GError **error)
{
    g_autofree char *data = g_malloc(size + 2);
    gsize length = 0;

    for (;;) {
        ssize_t n = read(fd, data + length, size + 1 - length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            set_errno(error);
            return NULL;
        }
        length += (gsize)n;
        /* One byte more was asked for than there should be: a regular file that gives less is at its end. */
        if (n == 0 || length >= size)
            break;
    }
    data[length] = '\0';
    *ret_length = length;
    return g_steal_pointer(&data);
}

/* Most files are plain ASCII, which a check of each character for UTF-8 takes ten times as long to find. */
static bool is_ascii(const char *data, gsize length)
{
    guint64 all = 0;

    for (; length >= sizeof(all); data += sizeof(all), length -= sizeof(all)) {
        guint64 word;
        memcpy(&word, data, sizeof(word));
        all |= word;
    }
    for (; length > 0; data++, length--)
        all |= *(const guint8 *)data;
    return (all & G_GUINT64_CONSTANT(0x8080808080808080)) == 0;
}

static bool key_file_read_open(int fd, char **ret_data, gsize *ret_length, GError **error)
{
    struct stat status;
    gsize length = 0;

    if (fstat(fd, &status) != 0)
        return set_errno(error);
    if (!key_file_is_safe(&status, error))
        return false;
    g_autofree char *data = read_all(fd, (gsize)status.st_size, &length, error);
    if (data == NULL)
        return false;
    if (length > (gsize)status.st_size) {
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG, "it grew while it was read");
        return false;
    }
    if ((!is_ascii(data, length) || strlen(data) < length) && !g_utf8_validate_len(data, length, NULL)) {
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG, "not valid UTF-8");
        return false;
    }
    *ret_data = g_steal_pointer(&data);
    *ret_length = length;
    return true;
}

static bool key_file_read(const char *path, char **ret_data, gsize *ret_length, GError **error)
{
    /* Not to wait for the other end of a pipe. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0)
        return set_errno(error);
    bool good = key_file_read_open(fd, ret_data, ret_length, error);
    (void)close(fd);
    return good;
}

KeyFile *key_file_free(KeyFile *file)
{
    if (file == NULL)
        return NULL;
    g_clear_pointer(&file->entries, g_array_unref);
    g_strfreev(file->groups);
    g_free(file->path);
    g_free(file->text);
    g_free(file);
    return NULL;
}

/* Returns: a copy of the next line without the white space at its ends, or NULL after the last one. */
static char *next_line(const char **text)
{
    const char *end;
    char *line;

    if (**text == '\0')
        return NULL;
    end = strchrnul(*text, '\n');
    line = g_strstrip(g_strndup(*text, (gsize)(end - *text)));
    *text = *end == '\n' ? end + 1 : end;
    return line;
}

static bool line_is_group(const char *line)
{
    return line[0] == '[' && g_str_has_suffix(line, "]");
}

static bool line_sets_key(const char *line, const char *key)
{
    gsize length = strlen(key);

    if (strncmp(line, key, length) != 0)
        return false;
    for (line += length; g_ascii_isspace(*line); line++)
        ;
    return *line == '=';
}

/* The line of a key, or with @key NULL of a group, counted from 1. Of several the last counts, as it does in GKeyFile. */
static unsigned find_line(const char *text, const char *group, const char *key)
{
    g_autofree char *header = g_strdup_printf("[%s]", group);
    unsigned number = 0, found = 0;
    bool in_group = false;
    char *next;

    while ((next = next_line(&text)) != NULL) {
        g_autofree char *line = next;
        number++;
        if (line_is_group(line)) {
            in_group = strcmp(line, header) == 0;
            if (in_group && key == NULL)
                found = number;
        } else if (in_group && key != NULL && line_sets_key(line, key)) {
            found = number;
        }
    }
    return found;
}

/* What GKeyFile takes for a key: brackets are for a language, at its end. */
static bool key_is_malformed(const char *line)
{
    const char *equals = strchr(line, '='), *bracket = strpbrk(line, "[]");
    g_autofree char *key = equals != NULL ? g_strchomp(g_strndup(line, (gsize)(equals - line))) : NULL;

    return key == NULL || *key == '\0' ||
           (bracket != NULL && bracket < equals && (*bracket == ']' || !g_str_has_suffix(key, "]")));
}

/* The first line that is neither empty nor a comment, a group or a key in a group. */
static unsigned find_malformed_line(const char *text)
{
    unsigned number = 0;
    bool in_group = false;
    char *next;

    while ((next = next_line(&text)) != NULL) {
        g_autofree char *line = next;
        number++;
        if (*line == '\0' || *line == '#')
            continue;
        if (line_is_group(line))
            in_group = true;
        else if (!in_group || key_is_malformed(line))
            return number;
    }
    return 0;
}

/* Most of what is compared differs in its first letter, and there is much of it. */
static bool same_text(const char *a, const char *b)
{
    return a == b || (*a == *b && strcmp(a, b) == 0);
}

static bool has_space_at_end(const char *text)
{
    return g_ascii_isspace(text[0]) || (text[0] != '\0' && g_ascii_isspace(text[strlen(text) - 1]));
}

static void clear_entry(gpointer data)
{
    Entry *entry = data;

    g_free(entry->key);
    g_free(entry->value);
}

static void key_file_take_entries(KeyFile *file, GKeyFile *keys)
{
    file->groups = g_key_file_get_groups(keys, NULL);
    file->entries = g_array_sized_new(FALSE, FALSE, sizeof(Entry), ENTRIES_USUAL);
    g_array_set_clear_func(file->entries, clear_entry);
    for (gsize i = 0; file->groups[i] != NULL; i++) {
        g_autofree GStrv names = g_key_file_get_keys(keys, file->groups[i], NULL, NULL);
        Entry group = {.group = file->groups[i], .n_keys = names != NULL ? g_strv_length(names) : 0};
        g_array_append_val(file->entries, group);
        for (gsize j = 0; names != NULL && names[j] != NULL; j++) {
            Entry entry = {
                .group = file->groups[i],
                .key = names[j],
                .value = g_key_file_get_value(keys, file->groups[i], names[j], NULL),
            };
            if (entry.value != NULL && has_space_at_end(entry.value))
                g_strstrip(entry.value);
            g_array_append_val(file->entries, entry);
        }
    }
}

/**
 * Reads one file.
 * Returns: to be freed with key_file_free(), or NULL with VIRTNEST_ERROR_CONFIG; the message names the file.
 */
KeyFile *key_file_load(const char *path, GError **error)
{
    g_autoptr(KeyFile) file = g_new0(KeyFile, 1);
    g_autoptr(GError) cause = NULL;
    gsize length = 0;

    file->path = g_strdup(path);
    g_autoptr(GKeyFile) keys = g_key_file_new();
    if (!key_file_read(path, &file->text, &length, &cause)) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG, "%s: %s", path, cause->message);
        return NULL;
    }
    /* Without that flag GLib drops Key[de]= unseen, or takes it, as the locale wants. */
    if (!g_key_file_load_from_data(keys, file->text, length, G_KEY_FILE_KEEP_TRANSLATIONS, &cause)) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG, "%s:%u: %s", path, find_malformed_line(file->text),
                    cause->message);
        return NULL;
    }
    key_file_take_entries(file, keys);
    return g_steal_pointer(&file);
}

/** Returns: where it was read from, owned by @file. */
const char *key_file_path(const KeyFile *file)
{
    return file->path;
}

/*
 * How many letters must be put in, taken out, changed or swapped with their neighbour, whatever their case (optimal string
 * alignment): two letters in the wrong order are the most common slip.
 */
static unsigned distance(const char *a, const char *b)
{
    gsize n = strlen(b);
    g_autofree unsigned *rows = g_new(unsigned, 3 * (n + 1));
    unsigned *before = rows, *last = rows + n + 1, *row = rows + 2 * (n + 1);

    for (gsize j = 0; j <= n; j++)
        row[j] = (unsigned)j;
    for (gsize i = 1; a[i - 1] != '\0'; i++) {
        unsigned *free_row = before;
        before = last;
        last = row;
        row = free_row;
        row[0] = (unsigned)i;
        for (gsize j = 1; j <= n; j++) {
            char x = g_ascii_tolower(a[i - 1]), y = g_ascii_tolower(b[j - 1]);
            row[j] = MIN(last[j - 1] + (x != y), MIN(last[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && x == g_ascii_tolower(b[j - 2]) && y == g_ascii_tolower(a[i - 2]))
                row[j] = MIN(row[j], before[j - 2] + 1);
        }
    }
    return row[n];
}

/**
 * Finds what was probably meant by a word that nobody knows.
 * @words: ended by NULL
 * Returns: one of @words, or NULL if none is near.
 */
const char *key_file_nearest(const char *word, const char *const *words)
{
    const char *best = NULL;
    unsigned best_distance = (unsigned)strlen(word) / TYPO_LETTERS + 1;

    for (; *words != NULL; words++) {
        unsigned d = distance(word, *words);
        if (d < best_distance) {
            best_distance = d;
            best = *words;
        }
    }
    return best;
}

/* The nearest known group, or with @key the nearest known key of @group; NULL if none is near. */
static const char *nearest(const KeySpec *specs, gsize n_specs, const char *group, const char *key)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new();

    for (gsize i = 0; i < n_specs; i++)
        if (key == NULL || strcmp(specs[i].group, group) == 0)
            g_ptr_array_add(words, (gpointer)(key != NULL ? specs[i].key : specs[i].group));
    g_ptr_array_add(words, NULL);
    return key_file_nearest(key != NULL ? key : group, (const char *const *)words->pdata);
}

/* Returns: the first specification of a group, or @n_specs. */
static gsize find_group(const KeySpec *specs, gsize n_specs, const char *group)
{
    gsize i = 0;

    while (i < n_specs && !same_text(specs[i].group, group))
        i++;
    return i;
}

/* @first: of the group */
static bool is_known(const KeySpec *specs, gsize n_specs, gsize first, const char *key)
{
    for (gsize i = first; i < n_specs && same_text(specs[i].group, specs[first].group); i++)
        if (same_text(specs[i].key, key))
            return true;
    return false;
}

static char *describe_unknown_group(const KeyFile *file, const KeySpec *specs, gsize n_specs, const char *group)
{
    const char *meant = nearest(specs, n_specs, group, NULL);
    GString *text = g_string_new(NULL);

    g_string_append_printf(text, "%s:%u: unknown group [%s]", file->path, find_line(file->text, group, NULL), group);
    if (meant != NULL)
        g_string_append_printf(text, "; did you mean [%s]?", meant);
    return g_string_free(text, FALSE);
}

static char *describe_unknown_key(const KeyFile *file, const KeySpec *specs, gsize n_specs, const char *group,
                                  const char *key)
{
    const char *meant = nearest(specs, n_specs, group, key);
    GString *text = g_string_new(NULL);

    g_string_append_printf(text, "%s:%u: unknown key %s= in [%s]", file->path, find_line(file->text, group, key), key,
                           group);
    if (meant != NULL)
        g_string_append_printf(text, "; did you mean %s=?", meant);
    return g_string_free(text, FALSE);
}

/**
 * @specs: those of one group stand together
 * @problems: gets a text, freed by the array, for each group and key that no specification knows, of the first some
 */
void key_file_find_unknown(const KeyFile *file, const KeySpec *specs, gsize n_specs, GPtrArray *problems)
{
    gsize first = n_specs;
    guint end = problems->len + UNKNOWN_MAX;

    for (guint i = 0; i < file->entries->len && problems->len < end; i++) {
        const Entry *entry = &g_array_index(file->entries, Entry, i);
        if (entry->key == NULL) {
            first = find_group(specs, n_specs, entry->group);
            if (first == n_specs)
                g_ptr_array_add(problems, describe_unknown_group(file, specs, n_specs, entry->group));
        } else if (first < n_specs && !is_known(specs, n_specs, first, entry->key)) {
            g_ptr_array_add(problems, describe_unknown_key(file, specs, n_specs, entry->group, entry->key));
        }
    }
}

/**
 * Says that a key's value is wrong.
 * @accepts: what it takes, to be read behind "takes "
 */
void key_file_set_error(const KeyFile *file, const char *group, const char *key, const char *accepts, GError **error)
{
    const char *value = key_file_value(file, group, key);

    g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG, "%s:%u: [%s] %s=%s: takes %s", file->path,
                find_line(file->text, group, key), group, key, value != NULL ? value : "", accepts);
}

/* Passes over whole groups: of all that a policy may set, most is in others. */
static const Entry *find_entry(const KeyFile *file, const char *group, const char *key)
{
    const Entry *entries = (const Entry *)file->entries->data;

    for (guint i = 0; i < file->entries->len; i += entries[i].n_keys + 1) {
        if (!same_text(entries[i].group, group))
            continue;
        for (guint j = i + 1; j <= i + entries[i].n_keys; j++)
            if (same_text(entries[j].key, key))
                return &entries[j];
        return NULL;
    }
    return NULL;
}

/** Is the key set, if only to nothing? */
bool key_file_has_key(const KeyFile *file, const char *group, const char *key)
{
    return find_entry(file, group, key) != NULL;
}

/**
 * Reads a value as it is written: a backslash is nothing special, and cannot make a value unreadable that then would
 * count as unset.
 * Returns: without the white space at its ends, owned by @file, or NULL if unset or empty.
 */
const char *key_file_value(const KeyFile *file, const char *group, const char *key)
{
    const Entry *entry = find_entry(file, group, key);

    return entry != NULL && entry->value != NULL && *entry->value != '\0' ? entry->value : NULL;
}

/** Returns: what key_file_value() does, to be freed with g_free(). */
char *key_file_string(const KeyFile *file, const char *group, const char *key)
{
    return g_strdup(key_file_value(file, group, key));
}

/**
 * Reads one of some words.
 * @choices: ended by NULL
 * @choice: set to its index; left as it is if the key is unset
 */
bool key_file_choice(const KeyFile *file, const char *group, const char *key, const char *const *choices, int *choice,
                     GError **error)
{
    const char *text = key_file_value(file, group, key);

    if (text == NULL)
        return true;
    for (int i = 0; choices[i] != NULL; i++)
        if (strcmp(choices[i], text) == 0) {
            *choice = i;
            return true;
        }
    g_autoptr(GString) accepts = g_string_new(choices[0]);
    for (int i = 1; choices[i] != NULL; i++)
        g_string_append_printf(accepts, "%s%s", choices[i + 1] != NULL ? ", " : " or ", choices[i]);
    key_file_set_error(file, group, key, accepts->str, error);
    return false;
}

/**
 * Reads a list whose items are separated by ';'.
 * Returns: the items without the white space at their ends, none of them empty, to be freed with g_strfreev(); NULL if
 * there are none.
 */
GStrv key_file_list(const KeyFile *file, const char *group, const char *key)
{
    const char *text = key_file_value(file, group, key);
    gsize n_most = 1, n = 0;

    if (text == NULL)
        return NULL;
    for (const char *p = text; (p = strchr(p, ';')) != NULL; p++)
        n_most++;
    g_auto(GStrv) items = g_new0(char *, n_most + 1);
    for (;;) {
        const char *end = strchrnul(text, ';');
        const char *next = end;
        while (text < end && g_ascii_isspace(*text))
            text++;
        while (end > text && g_ascii_isspace(end[-1]))
            end--;
        if (end > text)
            items[n++] = g_strndup(text, (gsize)(end - text));
        if (*next == '\0')
            break;
        text = next + 1;
    }
    return n > 0 ? g_steal_pointer(&items) : NULL;
}

/** Reads a boolean as systemd writes it; @value is left as it is if the key is unset. */
bool key_file_boolean(const KeyFile *file, const char *group, const char *key, bool *value, GError **error)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};
    const char *text = key_file_value(file, group, key);

    if (text == NULL)
        return true;
    for (gsize i = 0; i < G_N_ELEMENTS(words); i++)
        if (same_text(words[i], text)) {
            *value = i % 2 == 1;
            return true;
        }
    key_file_set_error(file, group, key, "yes or no", error);
    return false;
}

/** Reads a time span as systemd writes it, in microseconds; @usec is left as it is if the key is unset. */
bool key_file_duration(const KeyFile *file, const char *group, const char *key, guint64 minimum, guint64 maximum,
                       guint64 *usec, GError **error)
{
    const char *text = key_file_value(file, group, key);
    guint64 value = 0;

    if (text == NULL)
        return true;
    if (!duration_parse(text, &value) || value < minimum || value > maximum) {
        g_autofree char *low = duration_format(minimum), *high = duration_format(maximum);
        g_autofree char *accepts =
            g_strdup_printf("a time span from %s to %s, such as 30s, 5min or 1h 30min", low, high);
        key_file_set_error(file, group, key, accepts, error);
        return false;
    }
    *usec = value;
    return true;
}

/** Reads a whole number from @minimum to @maximum; @value is left as it is if the key is unset. */
bool key_file_integer(const KeyFile *file, const char *group, const char *key, int minimum, int maximum, int *value,
                      GError **error)
{
    const char *text = key_file_value(file, group, key);
    gint64 number = 0;

    if (text == NULL)
        return true;
    if (!g_ascii_string_to_signed(text, 10, minimum, maximum, &number, NULL)) {
        g_autofree char *accepts = g_strdup_printf("a whole number from %d to %d", minimum, maximum);
        key_file_set_error(file, group, key, accepts, error);
        return false;
    }
    *value = (int)number;
    return true;
}

/** Reads a number from 0 to @maximum; @value is left as it is if the key is unset. */
bool key_file_unsigned(const KeyFile *file, const char *group, const char *key, unsigned maximum, unsigned *value,
                       GError **error)
{
    const char *text = key_file_value(file, group, key);
    guint64 number = 0;

    if (text == NULL)
        return true;
    if (!g_ascii_string_to_unsigned(text, 10, 0, maximum, &number, NULL)) {
        g_autofree char *accepts = g_strdup_printf("a number from 0 to %u", maximum);
        key_file_set_error(file, group, key, accepts, error);
        return false;
    }
    *value = (unsigned)number;
    return true;
}
