/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What virtnest-hook reads out of a domain's XML, and what it makes of it. No library but libc, and no memory of its own:
 * see daemon/hook.c.
 *
 * It is no XML parser but walks over one document, forwards and once: whatever the document is, it ends. It knows the
 * path that it is on, and so sees nothing in comments, CDATA sections, processing instructions and the metadata of others.
 * It checks no more than it needs: libvirt has parsed the document before, or will after it, and refuses a bad one. A
 * document type declaration is refused, since it could define entities; libvirt writes none.
 */

#include "daemon/incoming.h"

#include <limits.h>
#include <string.h>

#define NAMESPACE "urn:virtnest:runtime:1"
/* The longest value that means something, and one more. */
#define VALUE_SIZE 64

/* A part of the text. */
typedef struct Span {
    const char *start, *end;
} Span;

typedef struct Scanner {
    const char *at, *end;
    unsigned long depth;   /* of the elements that are open */
    Span domain, metadata; /* the attributes of those two: a prefix may be declared there */
    bool in_metadata, metadata_seen, uuid_seen, runtime_seen;
    Incoming *incoming;
} Scanner;

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *skip_spaces(const char *at, const char *end)
{
    while (at < end && is_space(*at))
        at++;
    return at;
}

/* Any character that ends no name; which of them a name may have is libvirt's concern. */
static const char *skip_name(const char *at, const char *end)
{
    while (at < end && !is_space(*at) && strchr("/>=<\"'&", *at) == NULL)
        at++;
    return at;
}

static bool span_is(Span span, const char *text)
{
    size_t length = strlen(text);

    return (size_t)(span.end - span.start) == length && memcmp(span.start, text, length) == 0;
}

/* Values ----------------------------------------------------------------------------------------------------------- */

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return INT_MAX;
}

/* @name: what stands between "&#" and ";". Returns: the character, 0 if it is none */
static unsigned long character_reference(Span name)
{
    unsigned base = name.start < name.end && *name.start == 'x' ? 16 : 10;
    unsigned long code = 0;

    for (const char *p = name.start + (base == 16); p < name.end; p++) {
        int digit = digit_value(*p);
        if (digit >= (int)base)
            return 0;
        code = code * base + (unsigned long)digit;
        if (code > 0x10ffff)
            return 0;
    }
    return code;
}

/*
 * Reads the character at *@at, which may be an entity. What is not ASCII comes byte by byte, and as '?' if it was a
 * character reference: no value with such a character means anything here. Returns: '\0' if it is none.
 */
static char next_character(const char **at, const char *end)
{
    static const struct {
        const char *name;
        char character;
    } entities[] = {{"lt", '<'}, {"gt", '>'}, {"amp", '&'}, {"quot", '"'}, {"apos", '\''}};

    if (**at != '&') {
        char c = *(*at)++;
        return is_space(c) ? ' ' : c;
    }
    const char *start = *at + 1, *stop = memchr(start, ';', (size_t)(end - start));
    if (stop == NULL)
        return '\0';
    *at = stop + 1;
    if (start < stop && *start == '#') {
        unsigned long code = character_reference((Span){start + 1, stop});
        return code < 0x80 ? (char)code : '?';
    }
    for (size_t i = 0; i < sizeof(entities) / sizeof(entities[0]); i++)
        if (span_is((Span){start, stop}, entities[i].name))
            return entities[i].character;
    return '\0';
}

/*
 * Writes a value with its entities resolved, as far as there is room. Returns: false if that is not all of it; it is
 * ended by NUL all the same.
 */
static bool decode(Span value, char *buffer, size_t size)
{
    const char *at = value.start;
    size_t length = 0;
    bool good = true;

    while (good && at < value.end) {
        char c = next_character(&at, value.end);
        good = c != '\0' && length + 1 < size;
        if (good)
            buffer[length++] = c;
    }
    buffer[length] = '\0';
    return good;
}

static bool value_is(Span value, const char *text)
{
    char buffer[VALUE_SIZE];

    return decode(value, buffer, sizeof(buffer)) && strcmp(buffer, text) == 0;
}

/** Reads a time in seconds since 1970, all of the text. Returns: false if it is none. */
bool incoming_parse_time(const char *text, size_t length, long long *ret_time)
{
    long long time = 0;

    if (length == 0)
        return false;
    for (size_t i = 0; i < length; i++) {
        int digit = digit_value(text[i]);
        if (digit > 9 || time > (LLONG_MAX - digit) / 10)
            return false;
        time = time * 10 + digit;
    }
    *ret_time = time;
    return true;
}

static long long value_time(Span value)
{
    char buffer[VALUE_SIZE];
    long long time = INCOMING_NEVER;

    if (decode(value, buffer, sizeof(buffer)))
        (void)incoming_parse_time(buffer, strlen(buffer), &time);
    return time;
}

/* It goes to a terminal: an escape sequence shall not. */
static void copy_printable(Span value, char *buffer, size_t size)
{
    (void)decode(value, buffer, size);
    for (char *p = buffer; *p != '\0'; p++)
        if (*p < 0x20 || *p > 0x7e)
            *p = '?';
}

/* As virUUIDParse() does it: dashes anywhere, and white space around. @uuid: "" if it is none */
static void read_uuid(Span value, char uuid[INCOMING_UUID_SIZE])
{
    char buffer[VALUE_SIZE];
    size_t digits = 0, length = 0;
    bool good = decode(value, buffer, sizeof(buffer));
    const char *end = buffer + strlen(buffer), *p = skip_spaces(buffer, end);

    for (; good && p < end && digits < 32; p++) {
        int digit = digit_value(*p);
        if (*p == '-')
            continue;
        good = digit < 16;
        if (digits == 8 || digits == 12 || digits == 16 || digits == 20)
            uuid[length++] = '-';
        uuid[length++] = good ? "0123456789abcdef"[digit] : '?';
        digits++;
    }
    good = good && digits == 32 && skip_spaces(p, end) == end;
    uuid[good ? length : 0] = '\0';
}

/* Attributes ------------------------------------------------------------------------------------------------------- */

/*
 * Takes the next attribute.
 * @at: gets behind it, or to where there is none
 * Returns: false if there is none, or it is not well-formed
 */
static bool next_attribute(const char **at, const char *end, Span *ret_name, Span *ret_value)
{
    const char *start = skip_spaces(*at, end), *p = skip_name(start, end);
    Span name = {start, p};

    *at = start;
    if (name.start == name.end)
        return false;
    p = skip_spaces(p, end);
    if (p == end || *p != '=')
        return false;
    p = skip_spaces(p + 1, end);
    if (p == end || (*p != '"' && *p != '\''))
        return false;
    const char *close = memchr(p + 1, *p, (size_t)(end - p - 1));
    if (close == NULL || memchr(p + 1, '<', (size_t)(close - p - 1)) != NULL)
        return false;
    *ret_name = name;
    *ret_value = (Span){p + 1, close};
    *at = close + 1;
    return true;
}

/* Does @name declare @prefix, which may be empty? */
static bool declares(Span name, Span prefix)
{
    static const char word[] = "xmlns";
    size_t prefix_length = (size_t)(prefix.end - prefix.start), length = sizeof(word) - 1;

    if (prefix_length == 0)
        return span_is(name, word);
    return (size_t)(name.end - name.start) == length + 1 + prefix_length && memcmp(name.start, word, length) == 0 &&
           name.start[length] == ':' && memcmp(name.start + length + 1, prefix.start, prefix_length) == 0;
}

/* Is @prefix bound to our namespace on the innermost of these elements that binds it? @elements: their attributes */
static bool prefix_is_ours(Span prefix, const Span *elements, size_t n)
{
    Span name, value;

    for (size_t i = 0; i < n; i++)
        for (const char *at = elements[i].start; next_attribute(&at, elements[i].end, &name, &value);)
            if (declares(name, prefix))
                return value_is(value, NAMESPACE);
    return false;
}

static void read_runtime(Scanner *self, Span attributes)
{
    Incoming *incoming = self->incoming;
    Span name, value;

    for (const char *at = attributes.start; next_attribute(&at, attributes.end, &name, &value);) {
        if (span_is(name, "l2"))
            incoming->l2 = value_is(value, "running") ? INCOMING_L2_RUNNING
                           : value_is(value, "quiet") ? INCOMING_L2_QUIET
                                                      : INCOMING_L2_UNTOLD;
        else if (span_is(name, "since"))
            incoming->since = value_time(value);
        else if (span_is(name, "until"))
            incoming->until = value_time(value);
        else if (span_is(name, "released-until"))
            incoming->released_until = value_time(value);
        else if (span_is(name, "host"))
            copy_printable(value, incoming->host, sizeof(incoming->host));
    }
}

/* Elements --------------------------------------------------------------------------------------------------------- */

/* @name, @attributes: of an element that begins in <metadata>. libvirt keeps the first one of a namespace too. */
static void metadata_child(Scanner *self, Span name, Span attributes)
{
    const char *colon = memchr(name.start, ':', (size_t)(name.end - name.start));
    Span prefix = {name.start, colon != NULL ? colon : name.start};
    Span local = {colon != NULL ? colon + 1 : name.start, name.end};

    if (self->runtime_seen || !span_is(local, "runtime") ||
        !prefix_is_ours(prefix, (const Span[]){attributes, self->metadata, self->domain}, 3))
        return;
    self->runtime_seen = true;
    read_runtime(self, attributes);
}

/* @self: at what is in the element. As libvirt, of several it takes the first. */
static void domain_child(Scanner *self, Span name, Span attributes)
{
    if (span_is(name, "metadata") && !self->metadata_seen) {
        self->metadata_seen = self->in_metadata = true;
        self->metadata = attributes;
    } else if (span_is(name, "uuid") && !self->uuid_seen) {
        const char *end = memchr(self->at, '<', (size_t)(self->end - self->at));
        self->uuid_seen = true;
        if (end != NULL)
            read_uuid((Span){self->at, end}, self->incoming->uuid);
    }
}

static void leave_element(Scanner *self)
{
    if (--self->depth == 1)
        self->in_metadata = false;
}

/* @self: behind the "<" */
static bool start_tag(Scanner *self)
{
    Span name = {self->at, skip_name(self->at, self->end)}, attribute, value;
    const char *at = name.end;

    if (name.start == name.end)
        return false;
    while (next_attribute(&at, self->end, &attribute, &value)) {
    }
    Span attributes = {name.end, at};
    bool empty = at < self->end && *at == '/';
    at += empty;
    if (at >= self->end || *at != '>')
        return false;
    self->at = at + 1;
    switch (self->depth++) {
    case 0:
        if (!span_is(name, "domain"))
            return false;
        self->domain = attributes;
        break;
    case 1:
        domain_child(self, name, attributes);
        break;
    case 2:
        if (self->in_metadata)
            metadata_child(self, name, attributes);
        break;
    default:
        break;
    }
    if (empty)
        leave_element(self);
    return true;
}

/* @self: behind the "</". Whether it is the name that began the element is libvirt's concern. */
static bool end_tag(Scanner *self)
{
    const char *at = skip_spaces(skip_name(self->at, self->end), self->end);

    if (self->depth == 0 || at == self->end || *at != '>')
        return false;
    self->at = at + 1;
    leave_element(self);
    return true;
}

/* Goes behind the next @text. */
static bool skip_behind(Scanner *self, const char *text)
{
    const char *found = memmem(self->at, (size_t)(self->end - self->at), text, strlen(text));

    if (found == NULL)
        return false;
    self->at = found + strlen(text);
    return true;
}

static bool take(Scanner *self, const char *text)
{
    size_t length = strlen(text);

    if ((size_t)(self->end - self->at) < length || memcmp(self->at, text, length) != 0)
        return false;
    self->at += length;
    return true;
}

/* @self: behind a "<" */
static bool markup(Scanner *self)
{
    if (take(self, "!--"))
        return skip_behind(self, "-->");
    if (take(self, "![CDATA["))
        return self->depth > 0 && skip_behind(self, "]]>");
    if (take(self, "?"))
        return skip_behind(self, "?>");
    if (take(self, "/"))
        return end_tag(self);
    return start_tag(self);
}

/**
 * Reads the XML of a domain. What stands behind the domain is not looked at.
 * Returns: false if that is not a whole domain, or not one as libvirt writes it
 */
bool incoming_read(const char *text, size_t length, Incoming *ret_incoming)
{
    Incoming incoming = {.since = INCOMING_NEVER, .until = INCOMING_NEVER, .released_until = INCOMING_NEVER};
    Scanner self = {.at = text, .end = text + length, .incoming = &incoming};

    if (length == 0 || memchr(text, '\0', length) != NULL)
        return false;
    do {
        const char *next = memchr(self.at, '<', (size_t)(self.end - self.at));
        if (next == NULL)
            return false;
        self.at = next + 1;
        if (!markup(&self))
            return false;
    } while (self.depth > 0 || self.domain.start == NULL);
    *ret_incoming = incoming;
    return true;
}

/* Judging ---------------------------------------------------------------------------------------------------------- */

/**
 * May this guest not come in?
 *
 * A guest that migrates runs elsewhere right now, and while it does, the virtnestd there renews the element's lease
 * (until). One that has ended was left by a daemon that is gone, and tells of nothing: such a guest may come. An image does
 * not change, and what was running in it when it was written still is: the lease plays no part there.
 *
 * In doubt it may: without a UUID nobody could allow it, and an element of a migration without a lease is none of virtnestd's.
 * @now: CLOCK_REALTIME, in seconds
 */
bool incoming_is_refused(const Incoming *incoming, IncomingKind kind, long long now)
{
    if (incoming->l2 == INCOMING_L2_UNTOLD || *incoming->uuid == '\0' || now < incoming->released_until)
        return false;
    return kind == INCOMING_RESTORE || now <= incoming->until;
}
