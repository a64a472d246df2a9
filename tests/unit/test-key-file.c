/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/key-file.c: INI files, and what is said about bad ones. */

#include "lib/key-file.h"

#include "lib/duration.h"
#include "tests/unit/util.h"
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static KeyFile *load(const UtilRoot *root, GError **error)
{
    g_autofree char *path = util_root_path(root, "x.conf");

    return key_file_load(path, error);
}

static KeyFile *load_text(const char *text)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autoptr(GError) error = NULL;

    util_root_write(root, "x.conf", text);
    KeyFile *file = load(root, &error);
    g_assert_no_error(error);
    return file;
}

static void assert_load_fails(const UtilRoot *root, const char *part)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = util_root_path(root, "x.conf");
    g_autoptr(KeyFile) file = load(root, &error);

    g_assert_null(file);
    g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG);
    g_assert_true(g_str_has_prefix(error->message, path));
    util_assert_contains(error->message, part);
}

/* Loading --------------------------------------------------------------------------------------------------------- */

typedef struct TextCase {
    const char *name;
    const char *text;
} TextCase;

static const TextCase bad_texts[] = {
    {"key-before-group", "Mode=enforce\n[Manager]\n"},
    {"line-without-equals", "[Manager]\nMode\n"},
    {"unclosed-group", "[Manager\nMode=enforce\n"},
    {"xml", "<Manager/>\n"},
    {"invalid-utf8-value", "[Manager]\nMode=enf\xffrce\n"},
    {"invalid-utf8-key", "[Manager]\nM\xff"
                         "de=enforce\n"},
    {"invalid-utf8-comment", "[Manager]\n# \xc3\n"},
    {"latin1", "[Policy]\nDescription=caf\xe9\n"},
    {"byte-order-mark", "\xef\xbb\xbf[Manager]\n"},
    {"utf16", "\xff\xfe[M]\n"},
};

static void test_bad_text(gconstpointer data)
{
    const TextCase *c = data;
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, "x.conf", c->text);
    assert_load_fails(root, "");
}

static void test_nul(void)
{
    static const char text[] = "[Manager]\nMode=observe\0 or so\n";
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write_bytes(root, "x.conf", text, sizeof(text) - 1);
    assert_load_fails(root, "");
}

static void test_missing(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    assert_load_fails(root, "No such file");
}

static void test_dangling(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_link(root, "x.conf", "nowhere");
    assert_load_fails(root, "No such file");
}

static void test_link_loop(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_link(root, "x.conf", "x.conf");
    assert_load_fails(root, "symbolic links");
}

static void test_folder(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_folder(root, "x.conf");
    assert_load_fails(root, "");
}

/* A pipe would hold the reader for ever, and /dev/zero has no end. */
static void test_special(void)
{
    g_autoptr(UtilRoot) root = util_root_new(), other = util_root_new();
    g_autofree char *path = util_root_path(root, "x.conf");

    g_assert_cmpint(mkfifo(path, 0644), ==, 0);
    assert_load_fails(root, "regular file");
    util_root_link(other, "x.conf", "/dev/zero");
    assert_load_fails(other, "regular file");
}

static void test_unreadable(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *path = util_root_path(root, "x.conf");

    util_root_write(root, "x.conf", "[Manager]\n");
    g_assert_cmpint(chmod(path, 0), ==, 0);
    if (!util_set_override(false)) {
        g_test_skip("cannot give up root's capabilities");
        return;
    }
    assert_load_fails(root, "Permission denied");
    util_set_override(true);
}

static void test_size(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autoptr(GError) error = NULL;
    GString *text = g_string_new("[Manager]\n");

    while (text->len < 1024 * 1024)
        g_string_append_c(text, text->len % 80 == 0 || text->len == strlen("[Manager]\n") ? '#'
                                : text->len % 80 == 79                                    ? '\n'
                                                                                          : 'x');
    util_root_write(root, "x.conf", text->str);
    g_autoptr(KeyFile) file = load(root, &error);
    g_assert_no_error(error);
    g_assert_nonnull(file);

    g_string_append_c(text, 'x');
    util_root_write(root, "x.conf", text->str);
    assert_load_fails(root, "1 MiB");
    g_string_free(text, TRUE);
}

/* Whoever may write the file may rewrite guests, if it is root who reads it. */
static void test_unsafe(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *path = util_root_path(root, "x.conf");

    if (geteuid() != 0) {
        g_test_skip("only root refuses files of others");
        return;
    }
    util_root_write(root, "x.conf", "[Manager]\n");
    g_assert_cmpint(chmod(path, 0666), ==, 0);
    assert_load_fails(root, "writable for everybody");
    g_assert_cmpint(chmod(path, 0664), ==, 0);
    g_assert_cmpint(chown(path, 65534, 0), ==, 0);
    assert_load_fails(root, "owned by another user");
    g_assert_cmpint(chown(path, 0, 65534), ==, 0);
    g_autoptr(GError) error = NULL;
    g_autoptr(KeyFile) file = load(root, &error);
    g_assert_no_error(error);
}

/* Values ---------------------------------------------------------------------------------------------------------- */

typedef struct StringCase {
    const char *name;
    const char *text;
    const char *value;
} StringCase;

static const StringCase string_cases[] = {
    {"plain", "[A]\nK=v\n", "v"},
    {"spaces", "[A]\n  K \t=  v w \t \n", "v w"},
    {"crlf", "[A]\r\nK=v\r\n", "v"},
    {"no-line-end", "[A]\nK=v", "v"},
    {"comments", "# x\n[A]\n#K=w\n# K=w\nK=v\n\n", "v"},
    {"hash-in-value", "[A]\nK=v # not a comment\n", "v # not a comment"},
    {"equals-in-value", "[A]\nK==v=\n", "=v="},
    {"utf8",
     "[A]\nK=p\xc5\x99"
     "eklad\n",
     "p\xc5\x99"
     "eklad"},
    {"last-wins", "[A]\nK=v\nK=w\n", "w"},
    {"group-twice", "[A]\nK=v\n[B]\n[A]\nK=w\n", "w"},
    {"empty", "[A]\nK=\n", NULL},
    {"blank", "[A]\nK=  \n", NULL},
    {"absent", "[A]\nL=v\n", NULL},
    {"no-group", "[B]\nK=v\n", NULL},
    {"capitals", "[A]\nk=v\n", NULL},
    {"empty-file", "", NULL},
    /* None of these is an escape, and none makes a written value look as if it were unset. */
    {"backslash-at-end", "[A]\nK=v\\\n", "v\\"},
    {"backslash-unknown", "[A]\nK=a\\qb\n", "a\\qb"},
};

static void test_string(gconstpointer data)
{
    const StringCase *c = data;
    g_autoptr(KeyFile) file = load_text(c->text);
    g_autofree char *value = key_file_string(file, "A", "K");

    g_assert_cmpstr(value, ==, c->value);
}

static void test_boolean(void)
{
    static const struct {
        const char *text;
        bool good, value;
    } cases[] = {
        {"yes", true, true},      {"true", true, true},   {"on", true, true},   {"1", true, true},
        {"no", true, false},      {"false", true, false}, {"off", true, false}, {"0", true, false},
        {" yes ", true, true},    {"Yes", false, false},  {"y", false, false},  {"2", false, false},
        {"yes no", false, false}, {"\\", false, false},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = g_strdup_printf("[G]\nKey=%s\n", cases[i].text);
        g_autoptr(KeyFile) file = load_text(text);
        g_autoptr(GError) error = NULL;
        bool value = !cases[i].value, before = value;
        g_test_message("%s", cases[i].text);
        g_assert_cmpint(key_file_boolean(file, "G", "Key", &value, &error), ==, cases[i].good);
        if (cases[i].good) {
            g_assert_no_error(error);
            g_assert_cmpint(value, ==, cases[i].value);
        } else {
            g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG);
            g_assert_cmpint(value, ==, before);
            util_assert_contains(error->message, "[G] Key=");
            util_assert_contains(error->message, cases[i].text);
            util_assert_contains(error->message, "yes or no");
        }
    }
}

static void test_unsigned(void)
{
    static const struct {
        const char *text;
        bool good;
        unsigned value;
    } cases[] = {
        {"0", true, 0},           {"7", true, 7},
        {"100", true, 100},       {"007", true, 7},
        {" 7 ", true, 7},         {"101", false, 0},
        {"-1", false, 0},         {"+1", false, 0},
        {"1.5", false, 0},        {"1e1", false, 0},
        {"0x1", false, 0},        {"7 s", false, 0},
        {"seven", false, 0},      {"18446744073709551616", false, 0},
        {"4294967296", false, 0},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = g_strdup_printf("[G]\nKey=%s\n", cases[i].text);
        g_autoptr(KeyFile) file = load_text(text);
        g_autoptr(GError) error = NULL;
        unsigned value = 42;
        g_test_message("%s", cases[i].text);
        g_assert_cmpint(key_file_unsigned(file, "G", "Key", 100, &value, &error), ==, cases[i].good);
        if (cases[i].good) {
            g_assert_no_error(error);
            g_assert_cmpuint(value, ==, cases[i].value);
        } else {
            g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG);
            g_assert_cmpuint(value, ==, 42);
            util_assert_contains(error->message, "[G] Key=");
            util_assert_contains(error->message, "from 0 to 100");
        }
    }
}

static void test_unset_leaves_value(void)
{
    g_autoptr(KeyFile) file = load_text("[G]\nKey=\n");
    g_autoptr(GError) error = NULL;
    unsigned number = 42;
    bool flag = true;

    g_assert_true(key_file_unsigned(file, "G", "Key", 100, &number, &error));
    g_assert_true(key_file_unsigned(file, "G", "Other", 100, &number, &error));
    g_assert_true(key_file_boolean(file, "G", "Key", &flag, &error));
    g_assert_true(key_file_boolean(file, "H", "Key", &flag, &error));
    g_assert_cmpuint(number, ==, 42);
    g_assert_true(flag);
}

/* Every message begins with the file and the line, for an editor to jump to. */
static void assert_message(const char *message, unsigned line, const char *text)
{
    g_autofree char *rest = g_strdup_printf("/x.conf:%u: %s", line, text);

    g_assert_true(g_path_is_absolute(message));
    if (!g_str_has_suffix(message, rest))
        g_error("expected '...%s', got '%s'", rest, message);
}

static void test_unknown(void)
{
    static const KeySpec specs[] = {{"A", "Key"}, {"A", "Length"}, {"Beta", "Key"}};
    static const struct {
        const char *text;
        unsigned line;
        const char *unknown;
    } cases[] = {
        {"", 0, NULL},
        {"[A]\nKey=1\nLength=2\n[Beta]\nKey=3\n", 0, NULL},
        {"[A]\n[Beta]\n", 0, NULL},
        {"[A]\nMood=1\n", 2, "unknown key Mood= in [A]"},
        {"[A]\nkey=1\n", 2, "unknown key key= in [A]; did you mean Key=?"},
        {"# a\n\n[A]\n Lenght = 1\n", 4, "unknown key Lenght= in [A]; did you mean Length=?"},
        {"[A]\nKey=1\n[Beta]\nKey=1\nLength=1\n", 5, "unknown key Length= in [Beta]"},
        {"[A]\nKey[de]=1\n", 2, "unknown key Key[de]= in [A]"},
        {"[A]\n[C]\nKey=1\n", 2, "unknown group [C]"},
        {"[a]\n", 1, "unknown group [a]; did you mean [A]?"},
        {"[Bta]\n", 1, "unknown group [Bta]; did you mean [Beta]?"},
        {"[A ]\n", 1, "unknown group [A ]"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(KeyFile) file = load_text(cases[i].text);
        g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
        g_test_message("%s", cases[i].text);
        key_file_find_unknown(file, specs, G_N_ELEMENTS(specs), problems);
        g_assert_cmpuint(problems->len, ==, cases[i].unknown != NULL);
        if (cases[i].unknown != NULL)
            assert_message(problems->pdata[0], cases[i].line, cases[i].unknown);
    }
}

/* Not only the first: an admin mends a file once. */
static void test_all_unknown(void)
{
    static const KeySpec specs[] = {{"A", "Key"}};
    g_autoptr(KeyFile) file = load_text("[A]\nX1=\nKey=\nX2=\n[B]\nX3=\n[C]\n");
    g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);

    key_file_find_unknown(file, specs, G_N_ELEMENTS(specs), problems);
    g_assert_cmpuint(problems->len, ==, 4);
    assert_message(problems->pdata[0], 2, "unknown key X1= in [A]");
    assert_message(problems->pdata[1], 4, "unknown key X2= in [A]");
    assert_message(problems->pdata[2], 5, "unknown group [B]");
    assert_message(problems->pdata[3], 7, "unknown group [C]");
}

/* Each is looked for in all of the file, so that there is an end to that. */
static void test_many_unknown(void)
{
    static const KeySpec specs[] = {{"A", "Key"}};
    g_autoptr(GString) text = g_string_new("[A]\n");
    g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);

    for (unsigned i = 0; i < 1000; i++)
        g_string_append_printf(text, "X%u=\n", i);
    g_autoptr(KeyFile) file = load_text(text->str);
    g_ptr_array_add(problems, g_strdup("of another file"));
    key_file_find_unknown(file, specs, G_N_ELEMENTS(specs), problems);
    g_assert_cmpuint(problems->len, ==, 21);
}

static void test_malformed_line(void)
{
    static const struct {
        const char *text;
        unsigned line;
    } cases[] = {
        {"nonsense\n", 1},
        {"Key=1\n[A]\n", 1},
        {"# c\n\n[A]\nKey=1\nnonsense\nmore\n", 5},
        {"[A]\n=1\n", 2},
        {"[A\nKey=1\n", 1},
        {"[A]\nKey[de]=1\nKe[y=1\n", 3},
        {"[A]\nKey=1\nK]ey=1\n", 3},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(UtilRoot) root = util_root_new();
        g_autoptr(GError) error = NULL;
        g_autofree char *start = util_root_path(root, "x.conf");
        util_root_write(root, "x.conf", cases[i].text);
        g_autoptr(KeyFile) file = load(root, &error);
        g_autofree char *prefix = g_strdup_printf("%s:%u: ", start, cases[i].line);
        g_assert_null(file);
        g_test_message("%s", error->message);
        g_assert_true(g_str_has_prefix(error->message, prefix));
    }
}

static void test_choice(void)
{
    static const char *const words[] = {"one", "two", "three", NULL};
    static const struct {
        const char *text;
        int choice; /* 7: untouched; -1: refused */
    } cases[] = {
        {"[G]\nKey=one\n", 0},   {"[G]\nKey= three \n", 2}, {"[G]\nKey=one\nKey=two\n", 1}, {"[G]\nKey=\n", 7},
        {"[G]\nOther=one\n", 7}, {"[G]\nKey=One\n", -1},    {"[G]\nKey=one two\n", -1},     {"[G]\nKey=on\n", -1},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(KeyFile) file = load_text(cases[i].text);
        g_autoptr(GError) error = NULL;
        int choice = 7;
        g_test_message("%s", cases[i].text);
        g_assert_cmpint(key_file_choice(file, "G", "Key", words, &choice, &error), ==, cases[i].choice != -1);
        g_assert_cmpint(choice, ==, cases[i].choice == -1 ? 7 : cases[i].choice);
        if (cases[i].choice == -1)
            util_assert_contains(error->message, ": takes one, two or three");
    }
}

static void test_duration(void)
{
    static const struct {
        const char *text;
        guint64 usec; /* 7: untouched; 0: refused */
    } cases[] = {
        {"[G]\nKey=1s\n", 1000000},    {"[G]\nKey= 1min 30s \n", 90000000},
        {"[G]\nKey=1h\n", 3600000000}, {"[G]\nKey=\n", 7},
        {"[G]\nOther=5s\n", 7},        {"[G]\nKey=999ms\n", 0},
        {"[G]\nKey=1h 1us\n", 0},      {"[G]\nKey=infinity\n", 0},
        {"[G]\nKey=soon\n", 0},        {"[G]\nKey=-5s\n", 0},
        {"[G]\nKey=5s;6s\n", 0},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(KeyFile) file = load_text(cases[i].text);
        g_autoptr(GError) error = NULL;
        guint64 usec = 7;
        g_test_message("%s", cases[i].text);
        g_assert_cmpint(key_file_duration(file, "G", "Key", 1000000, 3600000000, &usec, &error), ==,
                        cases[i].usec != 0);
        g_assert_cmpuint(usec, ==, cases[i].usec != 0 ? cases[i].usec : 7);
        if (cases[i].usec == 0) {
            g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG);
            util_assert_contains(error->message, ":2: [G] Key=");
            util_assert_contains(error->message, ": takes a time span from 1s to 1h, such as 30s");
        }
    }
}

/* Where there is no longest one, infinity is one of them. */
static void test_duration_infinite(void)
{
    g_autoptr(KeyFile) file = load_text("[G]\nKey=infinity\nBad=x\n");
    g_autoptr(GError) error = NULL;
    guint64 usec = 7;

    g_assert_true(key_file_duration(file, "G", "Key", 0, DURATION_INFINITE, &usec, &error));
    g_assert_cmpuint(usec, ==, DURATION_INFINITE);
    g_assert_false(key_file_duration(file, "G", "Bad", 0, DURATION_INFINITE, &usec, &error));
    assert_message(error->message, 3, "[G] Bad=x: takes a time span from 0 to infinity, such as 30s, 5min or 1h 30min");
}

static void test_integer(void)
{
    static const struct {
        const char *text;
        int value; /* 7: untouched; -7: refused */
    } cases[] = {
        {"[G]\nKey=0\n", 0},
        {"[G]\nKey=-100\n", -100},
        {"[G]\nKey= 100 \n", 100},
        {"[G]\nKey=-0\n", 0},
        {"[G]\nKey=007\n", 7},
        {"[G]\nKey=\n", 7},
        {"[G]\nOther=1\n", 7},
        {"[G]\nKey=101\n", -7},
        {"[G]\nKey=-101\n", -7},
        {"[G]\nKey=1.5\n", -7},
        {"[G]\nKey=0x10\n", -7},
        {"[G]\nKey=1 2\n", -7},
        {"[G]\nKey=- 1\n", -7},
        {"[G]\nKey=ten\n", -7},
        {"[G]\nKey=1k\n", -7},
        {"[G]\nKey=--1\n", -7},
        {"[G]\nKey=-9223372036854775809\n", -7},
        {"[G]\nKey=18446744073709551616\n", -7},
        {"[G]\nKey=4294967296\n", -7},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(KeyFile) file = load_text(cases[i].text);
        g_autoptr(GError) error = NULL;
        int value = 7;
        g_test_message("%s", cases[i].text);
        g_assert_cmpint(key_file_integer(file, "G", "Key", -100, 100, &value, &error), ==, cases[i].value != -7);
        g_assert_cmpint(value, ==, cases[i].value != -7 ? cases[i].value : 7);
        if (cases[i].value == -7) {
            g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG);
            util_assert_contains(error->message, ":2: [G] Key=");
            util_assert_contains(error->message, ": takes a whole number from -100 to 100");
        }
    }
}

/* Of a key that is there twice the last counts, and it is its line that is told. */
static void test_error_line(void)
{
    g_autoptr(KeyFile) file = load_text("[F]\nKey=x\n[G]\n\n  Key=1\n# Key=2\nKeys=3\n[F]\n[G]\nKey = y\n");
    g_autoptr(GError) error = NULL;
    bool flag = false;

    g_assert_false(key_file_boolean(file, "G", "Key", &flag, &error));
    g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG);
    assert_message(error->message, 10, "[G] Key=y: takes yes or no");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(bad_texts); i++) {
        g_autofree char *path = g_strconcat("/key-file/bad/", bad_texts[i].name, NULL);
        g_test_add_data_func(path, &bad_texts[i], test_bad_text);
    }
    g_test_add_func("/key-file/bad/nul", test_nul);
    g_test_add_func("/key-file/bad/missing", test_missing);
    g_test_add_func("/key-file/bad/dangling", test_dangling);
    g_test_add_func("/key-file/bad/link-loop", test_link_loop);
    g_test_add_func("/key-file/bad/folder", test_folder);
    g_test_add_func("/key-file/bad/special", test_special);
    g_test_add_func("/key-file/bad/unreadable", test_unreadable);
    g_test_add_func("/key-file/size", test_size);
    g_test_add_func("/key-file/bad/unsafe", test_unsafe);
    for (gsize i = 0; i < G_N_ELEMENTS(string_cases); i++) {
        g_autofree char *path = g_strconcat("/key-file/string/", string_cases[i].name, NULL);
        g_test_add_data_func(path, &string_cases[i], test_string);
    }
    g_test_add_func("/key-file/boolean", test_boolean);
    g_test_add_func("/key-file/unsigned", test_unsigned);
    g_test_add_func("/key-file/unset-leaves-value", test_unset_leaves_value);
    g_test_add_func("/key-file/unknown", test_unknown);
    g_test_add_func("/key-file/all-unknown", test_all_unknown);
    g_test_add_func("/key-file/many-unknown", test_many_unknown);
    g_test_add_func("/key-file/malformed-line", test_malformed_line);
    g_test_add_func("/key-file/choice", test_choice);
    g_test_add_func("/key-file/duration", test_duration);
    g_test_add_func("/key-file/duration-infinite", test_duration_infinite);
    g_test_add_func("/key-file/integer", test_integer);
    g_test_add_func("/key-file/error-line", test_error_line);
    return g_test_run();
}
