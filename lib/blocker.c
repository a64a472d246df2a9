/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What makes QEMU itself refuse to migrate, save or snapshot a guest: a node of a format that blocks migration while it is
 * open (migrate_add_blocker() in block/vdi.c and block/vpc.c), over a tiny read-only image in a memfd, which nobody can
 * write. libvirt looks for blockers before it begins (qemuDomainGetMigrationBlockers()), and shows QEMU's words.
 */

#include "lib/blocker.h"

#include "lib/error.h"
#include <errno.h>
#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* libvirt numbers its own sets from 0. */
#define FDSET 1447971374
#define VDI_SIZE 512
#define VPC_SIZE 1024
#define VPC_FOOTER 512

static const char *const format_names[] = {
    [BLOCKER_VDI] = "vdi",
    [BLOCKER_VPC] = "vpc",
};

const char *blocker_format_to_string(BlockerFormat format)
{
    return format_names[format];
}

static void put_le32(guint8 *image, gsize offset, guint32 value)
{
    value = GUINT32_TO_LE(value);
    memcpy(image + offset, &value, sizeof(value));
}

static void put_be32(guint8 *image, gsize offset, guint32 value)
{
    value = GUINT32_TO_BE(value);
    memcpy(image + offset, &value, sizeof(value));
}

/* No blocks at all: a header (VdiHeader in block/vdi.c) is a whole image. */
static void make_vdi(guint8 *image)
{
    put_le32(image, 0x40, 0xbeda107f);   /* signature */
    put_le32(image, 0x44, 0x00010001);   /* version */
    put_le32(image, 0x154, VDI_SIZE);    /* where blocks are listed */
    put_le32(image, 0x158, VDI_SIZE);    /* where they are */
    put_le32(image, 0x168, 512);         /* of a sector */
    put_le32(image, 0x178, 1024 * 1024); /* of a block */
}

/* One sector of a fixed size, and behind it the footer (VHDFooter in block/vpc.c), big endian. */
static void make_vpc(guint8 *image)
{
    static const guint8 cookie[] = {'c', 'o', 'n', 'e', 'c', 't', 'i', 'x'};
    /* Of whom QEMU knows that the size counts, not the geometry. */
    static const guint8 maker[] = {'q', 'e', 'm', '2'};
    guint8 *footer = image + VPC_FOOTER;
    guint32 sum = 0;

    memcpy(footer, cookie, sizeof(cookie));
    put_be32(footer, 0x08, 2);          /* features: always */
    put_be32(footer, 0x0c, 0x00010000); /* version */
    put_be32(footer, 0x10, G_MAXUINT32);
    put_be32(footer, 0x14, G_MAXUINT32); /* no dynamic header */
    memcpy(footer + 0x1c, maker, sizeof(maker));
    put_be32(footer, 0x2c, 512); /* original size */
    put_be32(footer, 0x34, 512); /* size */
    footer[0x39] = 1;            /* cylinders, heads and sectors */
    footer[0x3a] = 1;
    footer[0x3b] = 1;
    put_be32(footer, 0x3c, 2); /* fixed */
    for (gsize i = 0; i < VPC_SIZE - VPC_FOOTER; i++)
        sum += footer[i];
    put_be32(footer, 0x40, ~sum);
}

/** Returns: the image, to be given back with g_bytes_unref(). */
GBytes *blocker_image(BlockerFormat format)
{
    gsize size = format == BLOCKER_VDI ? VDI_SIZE : VPC_SIZE;
    guint8 *image = g_malloc0(size);

    if (format == BLOCKER_VDI)
        make_vdi(image);
    else
        make_vpc(image);
    return g_bytes_new_take(image, size);
}

static int set_errno(GError **error, const char *what)
{
    g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_MONITOR, "%s: %s", what, g_strerror(errno));
    return -1;
}

/* What is written to it stays so for ever. */
static int fill_and_seal(int memfd, BlockerFormat format, GError **error)
{
    g_autoptr(GBytes) image = blocker_image(format);
    gsize size = 0;
    const void *data = g_bytes_get_data(image, &size);

    if (write(memfd, data, size) != (gssize)size)
        return set_errno(error, "cannot write the image");
    if (fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
        return set_errno(error, "cannot seal the image");
    /* Opened anew: QEMU looks for a descriptor that is open for reading alone. */
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", memfd);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return set_errno(error, "cannot open the image");
    return fd;
}

/**
 * Makes an image that nobody can write.
 * Returns: a descriptor of it, open for reading, to be closed; or -1 with VIRTNEST_ERROR_MONITOR.
 */
int blocker_open(BlockerFormat format, GError **error)
{
    int memfd = memfd_create(BLOCKER_NODE, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (memfd < 0)
        return set_errno(error, "cannot make a memfd");
    int fd = fill_and_seal(memfd, format, error);
    (void)close(memfd);
    return fd;
}

/* Commands --------------------------------------------------------------------------------------------------------- */

/** Each returns a QMP command, to be freed with g_free(). This one goes with a descriptor. */
char *blocker_command_add_fd(void)
{
    return g_strdup_printf("{\"execute\":\"add-fd\",\"arguments\":{\"fdset-id\":%d,\"opaque\":\"" BLOCKER_NODE "\"}}",
                           FDSET);
}

/* The node has a copy. */
char *blocker_command_remove_fd(void)
{
    return g_strdup_printf("{\"execute\":\"remove-fd\",\"arguments\":{\"fdset-id\":%d}}", FDSET);
}

char *blocker_command_add(BlockerFormat format)
{
    return g_strdup_printf(
        "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"%s\",\"node-name\":\"" BLOCKER_NODE
        "\",\"read-only\":true,\"file\":{\"driver\":\"file\",\"read-only\":true,"
        "\"filename\":\"/dev/fdset/%d\"}}}",
        format_names[format], FDSET);
}

char *blocker_command_remove(void)
{
    return g_strdup("{\"execute\":\"blockdev-del\",\"arguments\":{\"node-name\":\"" BLOCKER_NODE "\"}}");
}

char *blocker_command_find(void)
{
    return g_strdup("{\"execute\":\"query-named-block-nodes\",\"arguments\":{\"flat\":true}}");
}

/* Replies ---------------------------------------------------------------------------------------------------------- */

static JsonObject *parse_object(JsonParser *parser, const char *text, GError **error)
{
    g_autoptr(GError) cause = NULL;
    JsonNode *root = json_parser_load_from_data(parser, text, -1, &cause) ? json_parser_get_root(parser) : NULL;

    if (root != NULL && JSON_NODE_HOLDS_OBJECT(root))
        return json_node_get_object(root);
    g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_MONITOR,
                "QEMU's monitor answers with something else than JSON: %s",
                cause != NULL ? cause->message : "no object");
    return NULL;
}

/* Returns: QEMU's words, owned by @object; NULL if it is no error. */
static const char *error_words(JsonObject *object)
{
    JsonNode *member = json_object_get_member(object, "error");
    JsonObject *failure = member != NULL && JSON_NODE_HOLDS_OBJECT(member) ? json_node_get_object(member) : NULL;

    if (member == NULL)
        return NULL;
    return failure != NULL ? json_object_get_string_member_with_default(failure, "desc", "") : "";
}

/**
 * Reads what QEMU says to one of the commands, whose error is of no class but GenericError: its words tell.
 * @text: the whole answer, as virDomainQemuMonitorCommand() gives it
 * @error: set with BLOCKER_REPLY_REFUSED and BLOCKER_REPLY_TOO_LATE
 */
BlockerReply blocker_parse_reply(const char *text, GError **error)
{
    static const struct {
        const char *words;
        BlockerReply reply;
    } known[] = {
        {"Duplicate nodes", BLOCKER_REPLY_THERE},                  /* block.c: blockdev-add of a name in use */
        {"Failed to find node", BLOCKER_REPLY_NOT_THERE},          /* blockdev.c: blockdev-del */
        {"disallowing migration blocker", BLOCKER_REPLY_TOO_LATE}, /* migration/migration.c */
        {"File descriptor named", BLOCKER_REPLY_NOT_THERE},        /* monitor: remove-fd of no set, QEMU 7.2 */
        {"not found", BLOCKER_REPLY_NOT_THERE},                    /* the same, of later versions */
    };
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonObject *object = parse_object(parser, text, error);

    if (object == NULL)
        return BLOCKER_REPLY_REFUSED;
    const char *words = error_words(object);
    if (words == NULL)
        return BLOCKER_REPLY_DONE;
    BlockerReply reply = BLOCKER_REPLY_REFUSED;
    for (gsize i = 0; i < G_N_ELEMENTS(known) && reply == BLOCKER_REPLY_REFUSED; i++)
        if (strstr(words, known[i].words) != NULL)
            reply = known[i].reply;
    if (reply == BLOCKER_REPLY_REFUSED || reply == BLOCKER_REPLY_TOO_LATE)
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_MONITOR, "QEMU: %s", words);
    return reply;
}

/**
 * Looks for the node in the answer to blocker_command_find().
 * Returns: false with VIRTNEST_ERROR_MONITOR if that is none.
 */
bool blocker_parse_nodes(const char *text, bool *ret_found, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonObject *object = parse_object(parser, text, error);
    JsonNode *member = object != NULL ? json_object_get_member(object, "return") : NULL;
    bool found = false;

    if (object == NULL)
        return false;
    if (member == NULL || !JSON_NODE_HOLDS_ARRAY(member)) {
        const char *words = error_words(object);
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_MONITOR, "QEMU does not list its nodes: %s",
                    words != NULL ? words : "no list");
        return false;
    }
    JsonArray *nodes = json_node_get_array(member);
    for (guint i = 0; i < json_array_get_length(nodes) && !found; i++) {
        JsonNode *node = json_array_get_element(nodes, i);
        if (JSON_NODE_HOLDS_OBJECT(node))
            found = strcmp(json_object_get_string_member_with_default(json_node_get_object(node), "node-name", ""),
                           BLOCKER_NODE) == 0;
    }
    *ret_found = found;
    return true;
}
