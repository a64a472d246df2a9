/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The protocol of QEMU's guest agent (qga/qapi-schema.json), as far as it reads a file. Whoever has the guest may answer in
 * its place, with whatever there is: so an answer has a largest size and depth before it is parsed, and each value of it a
 * type and a range.
 */

#include "lib/guest-agent.h"

#include "lib/error.h"
#include <json-glib/json-glib.h>
#include <string.h>

/* The longest answer there is a use for is the list of commands; libvirt itself takes up to 4 MiB. */
#define REPLY_MAX (256 * 1024)
/* JSON-GLib parses what is nested by calling itself. */
#define DEPTH_MAX 16
#define COMMANDS_MAX 1000

static char *make_command(const char *name, JsonBuilder *arguments)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "execute");
    json_builder_add_string_value(builder, name);
    if (arguments != NULL) {
        json_builder_set_member_name(builder, "arguments");
        json_builder_add_value(builder, json_builder_get_root(arguments));
    }
    json_builder_end_object(builder);
    g_autoptr(JsonNode) root = json_builder_get_root(builder);
    return json_to_string(root, FALSE);
}

/** Returns: a command without arguments, to be freed with g_free(). */
char *guest_agent_command(const char *name)
{
    return make_command(name, NULL);
}

/** Returns: the command that opens a file for reading, to be freed with g_free(). */
char *guest_agent_command_open(const char *path)
{
    g_autoptr(JsonBuilder) arguments = json_builder_new();

    json_builder_begin_object(arguments);
    json_builder_set_member_name(arguments, "path");
    json_builder_add_string_value(arguments, path);
    json_builder_set_member_name(arguments, "mode");
    json_builder_add_string_value(arguments, "r");
    json_builder_end_object(arguments);
    return make_command("guest-file-open", arguments);
}

/** Returns: the command that reads of an open file, to be freed with g_free(). */
char *guest_agent_command_read(gint64 handle, gint64 count)
{
    g_autoptr(JsonBuilder) arguments = json_builder_new();

    json_builder_begin_object(arguments);
    json_builder_set_member_name(arguments, "handle");
    json_builder_add_int_value(arguments, handle);
    json_builder_set_member_name(arguments, "count");
    json_builder_add_int_value(arguments, count);
    json_builder_end_object(arguments);
    return make_command("guest-file-read", arguments);
}

/** Returns: the command that closes a file, to be freed with g_free(). */
char *guest_agent_command_close(gint64 handle)
{
    g_autoptr(JsonBuilder) arguments = json_builder_new();

    json_builder_begin_object(arguments);
    json_builder_set_member_name(arguments, "handle");
    json_builder_add_int_value(arguments, handle);
    json_builder_end_object(arguments);
    return make_command("guest-file-close", arguments);
}

/* Answers -------------------------------------------------------------------------------------------------------- */

static bool is_shallow(const char *text)
{
    unsigned depth = 0;
    bool in_string = false;

    for (; *text != '\0'; text++) {
        if (in_string) {
            if (*text == '\\' && text[1] != '\0')
                text++;
            else if (*text == '"')
                in_string = false;
        } else if (*text == '"') {
            in_string = true;
        } else if (*text == '[' || *text == '{') {
            if (++depth > DEPTH_MAX)
                return false;
        } else if ((*text == ']' || *text == '}') && depth > 0) {
            depth--;
        }
    }
    return true;
}

static bool fail(GError **error, const char *what)
{
    g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_AGENT, "the guest's agent answers %s", what);
    return false;
}

/* Returns: what is behind "return", of that type, to be given back with json_node_unref(); or NULL with an error. */
static JsonNode *parse_reply(const char *reply, JsonNodeType type, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new_immutable();

    if (strnlen(reply, REPLY_MAX + 1) > REPLY_MAX) {
        (void)fail(error, "with more than anybody asked for");
        return NULL;
    }
    if (!g_utf8_validate(reply, -1, NULL) || !is_shallow(reply) ||
        !json_parser_load_from_data(parser, reply, -1, NULL)) {
        (void)fail(error, "with what is no JSON");
        return NULL;
    }
    JsonNode *root = json_parser_get_root(parser);
    if (root == NULL || !JSON_NODE_HOLDS_OBJECT(root)) {
        (void)fail(error, "with no object");
        return NULL;
    }
    JsonNode *node = json_object_get_member(json_node_get_object(root), "return");
    if (node == NULL || json_node_get_node_type(node) != type) {
        (void)fail(error, "something else than it was asked");
        return NULL;
    }
    return json_node_ref(node);
}

/* Returns: the object's member if it is of that type, or NULL. */
static JsonNode *member_of(JsonObject *object, const char *name, GType type)
{
    JsonNode *node = json_object_get_member(object, name);

    return node != NULL && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == type ? node : NULL;
}

/**
 * Reads the answer to guest-info.
 * Returns: false with VIRTNEST_ERROR_AGENT if it is none.
 */
bool guest_agent_parse_info(const char *reply, GuestAgentInfo *ret_info, GError **error)
{
    static const char *const wanted[] = {"guest-file-open", "guest-file-read", "guest-file-close", "guest-get-osinfo"};
    g_autoptr(JsonNode) node = parse_reply(reply, JSON_NODE_OBJECT, error);
    bool enabled[G_N_ELEMENTS(wanted)] = {false};

    if (node == NULL)
        return false;
    JsonNode *list = json_object_get_member(json_node_get_object(node), "supported_commands");
    if (list == NULL || !JSON_NODE_HOLDS_ARRAY(list))
        return fail(error, "without a list of its commands");
    JsonArray *commands = json_node_get_array(list);
    for (guint i = 0; i < MIN(json_array_get_length(commands), COMMANDS_MAX); i++) {
        JsonNode *command = json_array_get_element(commands, i);
        if (!JSON_NODE_HOLDS_OBJECT(command))
            continue;
        JsonNode *name = member_of(json_node_get_object(command), "name", G_TYPE_STRING);
        JsonNode *is_enabled = member_of(json_node_get_object(command), "enabled", G_TYPE_BOOLEAN);
        for (gsize j = 0; j < G_N_ELEMENTS(wanted) && name != NULL; j++)
            if (strcmp(json_node_get_string(name), wanted[j]) == 0)
                enabled[j] = is_enabled != NULL && json_node_get_boolean(is_enabled);
    }
    *ret_info = (GuestAgentInfo){.reads_files = enabled[0] && enabled[1] && enabled[2], .tells_os = enabled[3]};
    return true;
}

/**
 * Reads the answer to guest-get-osinfo.
 * Returns: false with VIRTNEST_ERROR_AGENT if it is none.
 */
bool guest_agent_parse_os(const char *reply, bool *ret_is_windows, GError **error)
{
    g_autoptr(JsonNode) node = parse_reply(reply, JSON_NODE_OBJECT, error);

    if (node == NULL)
        return false;
    JsonNode *id = member_of(json_node_get_object(node), "id", G_TYPE_STRING);
    *ret_is_windows = id != NULL && strcmp(json_node_get_string(id), "mswindows") == 0;
    return true;
}

/**
 * Reads the answer to guest-file-open.
 * Returns: false with VIRTNEST_ERROR_AGENT if it is none.
 */
bool guest_agent_parse_handle(const char *reply, gint64 *ret_handle, GError **error)
{
    g_autoptr(JsonNode) node = parse_reply(reply, JSON_NODE_VALUE, error);

    if (node == NULL)
        return false;
    if (json_node_get_value_type(node) != G_TYPE_INT64)
        return fail(error, "with a file that has no number");
    *ret_handle = json_node_get_int(node);
    return true;
}

/**
 * Reads the answer to guest-file-read.
 * @most: how many bytes were asked for
 * @content: gets what was read
 * @ret_end: set to whether that was all of the file
 * Returns: false with VIRTNEST_ERROR_AGENT if it is none, and @content is as before.
 */
bool guest_agent_parse_read(const char *reply, gsize most, GByteArray *content, bool *ret_end, GError **error)
{
    g_autoptr(JsonNode) node = parse_reply(reply, JSON_NODE_OBJECT, error);

    if (node == NULL)
        return false;
    JsonObject *object = json_node_get_object(node);
    JsonNode *count = member_of(object, "count", G_TYPE_INT64), *text = member_of(object, "buf-b64", G_TYPE_STRING),
             *eof = member_of(object, "eof", G_TYPE_BOOLEAN);
    if (count == NULL || text == NULL || eof == NULL)
        return fail(error, "without what it read");
    gsize length = 0;
    g_autofree guchar *bytes = g_base64_decode(json_node_get_string(text), &length);
    if (json_node_get_int(count) < 0 || (guint64)json_node_get_int(count) != length || length > most)
        return fail(error, "with another number of bytes than it says, or than was asked for");
    g_byte_array_append(content, bytes, (guint)length);
    *ret_end = json_node_get_boolean(eof) || length == 0;
    return true;
}

/**
 * Reads the flags of the first processor.
 * @content: the beginning of /proc/cpuinfo, which may end anywhere
 * Returns: false if there is no whole line of flags.
 */
bool guest_cpuinfo_parse(const guint8 *content, gsize length, GuestCpuinfo *ret_cpuinfo)
{
    g_autofree char *text = g_strndup(length > 0 ? (const char *)content : "", length);
    GuestCpuinfo cpuinfo = {false, false};

    /* A copy up to the first NUL, if there is one. */
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        char *colon = strchr(line, ':');
        if (colon == NULL)
            continue;
        *colon = '\0';
        if (strcmp(g_strchomp(line), "flags") != 0)
            continue;
        g_auto(GStrv) words = g_strsplit(colon + 1, " ", 0);
        cpuinfo.vmx = g_strv_contains((const char *const *)words, "vmx");
        cpuinfo.svm = g_strv_contains((const char *const *)words, "svm");
        *ret_cpuinfo = cpuinfo;
        return true;
    }
    return false;
}
