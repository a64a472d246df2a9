/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/libvirt.h"

#include "ctl/pick.h"
#include "ctl/verbs.h"
#include "daemon/libvirt-error.h"
#include <libvirt/virterror.h>
#include <libxml/uri.h>
#include <signal.h>
#include <unistd.h>

#define THREADS 4

/* It would print each error by itself. */
static void be_quiet(void *data G_GNUC_UNUSED, virErrorPtr error G_GNUC_UNUSED)
{
}

/**
 * To be called before libvirt is used. An ssh that ends at once, since it cannot reach its host, must not take this process
 * along: libvirt's client writes to it all the same.
 */
void libvirt_prepare(void)
{
    (void)virInitialize();
    virSetErrorFunc(NULL, be_quiet);
    (void)signal(SIGPIPE, SIG_IGN);
}

static void fail(const char *action)
{
    g_autoptr(GError) error = NULL;

    libvirt_set_error(&error, action);
    (void)verb_fail("%s", error->message);
}

/** Connects to libvirt. Returns: to be closed with virConnectClose(), or NULL. */
virConnect *libvirt_open(void)
{
    g_autofree char *action = g_strdup_printf("cannot connect to libvirt at %s", verbs_connect);

    if (*verbs_connect == '\0') {
        (void)verb_fail("with --root no libvirt is used by itself; name it: --connect=URI");
        return NULL;
    }
    libvirt_prepare();
    virConnect *connection = virConnectOpen(verbs_connect);
    if (connection == NULL)
        fail(action);
    return connection;
}

/**
 * Connects to look only. Without a password: domain capabilities are not for those who may only read, and who is not root
 * would be asked for one otherwise.
 * Returns: to be closed with virConnectClose(), or NULL with an error.
 */
virConnect *libvirt_peek(const char *uri, GError **error)
{
    g_autofree char *action = g_strdup_printf("no connection to %s", uri);

    libvirt_prepare();
    virConnect *connection = geteuid() == 0 ? virConnectOpen(uri) : virConnectOpenReadOnly(uri);
    if (connection == NULL)
        libvirt_set_error(error, action);
    return connection;
}

/**
 * @uri: as virConnectGetURI() gives it; nullable
 * Returns: the other host that the libvirt is on, to be freed with g_free(); NULL: it is on this one.
 */
char *libvirt_remote_host(const char *uri)
{
    xmlURI *parsed = uri != NULL ? xmlParseURI(uri) : NULL;
    char *host = parsed != NULL && parsed->server != NULL && *parsed->server != '\0' ? g_strdup(parsed->server) : NULL;

    xmlFreeURI(parsed);
    return host;
}

/** Returns: all domains that @flags of virConnectListAllDomains() take, to be freed with g_ptr_array_unref(); or NULL. */
GPtrArray *libvirt_list(virConnect *connection, unsigned flags)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify)vir_domain_unref);
    virDomain **domains = NULL;
    int n = virConnectListAllDomains(connection, &domains, flags);

    if (n < 0) {
        fail("cannot list the domains");
        return NULL;
    }
    for (int i = 0; i < n; i++)
        g_ptr_array_add(list, domains[i]);
    free(domains);
    return g_steal_pointer(&list);
}

/* Returns: the one that is meant, as pick_domain() finds it, to be freed with virDomainFree(); NULL after saying why not. */
static virDomain *pick(virConnect *connection, const char *text)
{
    g_autoptr(GPtrArray) domains = libvirt_list(connection, 0);
    g_autoptr(GArray) items = g_array_new(FALSE, FALSE, sizeof(PickItem));
    g_autoptr(GPtrArray) uuids = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *problem = NULL;

    if (domains == NULL)
        return NULL;
    for (guint i = 0; i < domains->len; i++) {
        char *uuid = g_malloc0(VIR_UUID_STRING_BUFLEN);
        (void)virDomainGetUUIDString(domains->pdata[i], uuid);
        g_ptr_array_add(uuids, uuid);
        PickItem item = {virDomainGetName(domains->pdata[i]), uuid};
        g_array_append_val(items, item);
    }
    int index = pick_domain(text, (const PickItem *)(gpointer)items->data, items->len, NULL, &problem);
    if (index < 0) {
        (void)verb_fail("%s", problem);
        return NULL;
    }
    (void)virDomainRef(domains->pdata[index]);
    return domains->pdata[index];
}

/** Returns: the domain that is meant, as pick_domain() finds it, to be freed with virDomainFree(); or NULL. */
virDomain *libvirt_find(virConnect *connection, const char *text)
{
    virDomain *domain = virDomainLookupByName(connection, text);

    if (domain != NULL || virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
        return domain != NULL ? domain : pick(connection, text);
    fail("cannot look the domain up");
    return NULL;
}

/* For each ----------------------------------------------------------------------------------------------------------- */

typedef struct Each {
    LibvirtWork work;
    gpointer data;
    GMutex lock;
    GCond done;
    unsigned left, failed;
} Each;

typedef struct EachDomain {
    virDomain *domain;
    Each *each;
    bool done;
} EachDomain;

/* On a connection of its own: calls on one may wait for each other, daemon/lanes.c tells why. */
static bool work_on(const EachDomain *one, GError **error)
{
    g_autoptr(VirConnect) connection = virConnectOpen(verbs_connect);
    char uuid[VIR_UUID_STRING_BUFLEN] = "";

    if (connection == NULL || virDomainGetUUIDString(one->domain, uuid) < 0) {
        libvirt_set_error(error, "cannot connect to libvirt");
        return false;
    }
    g_autoptr(VirDomain) domain = virDomainLookupByUUIDString(connection, uuid);
    if (domain != NULL)
        return one->each->work(domain, one->each->data, error);
    if (virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
        return true;
    libvirt_set_error(error, "cannot look it up");
    return false;
}

static void each_work(gpointer data, gpointer user_data G_GNUC_UNUSED)
{
    EachDomain *one = data;
    Each *each = one->each;
    g_autoptr(GError) error = NULL;
    bool good = work_on(one, &error);

    g_mutex_lock(&each->lock);
    if (!good) {
        (void)verb_fail("domain '%s': %s", virDomainGetName(one->domain), error->message);
        each->failed++;
    }
    one->done = true;
    each->left--;
    g_cond_signal(&each->done);
    g_mutex_unlock(&each->lock);
}

/**
 * Does something with several domains at once, so that one that hangs does not keep the others from it. One that is gone
 * meanwhile is no failure.
 * @domains: of virDomain
 * @data: for @work; to be there until the process ends
 * @limit_usec: those that are not done by then are given up; their calls may still come to an end
 * Returns: with how many it did not work.
 */
unsigned libvirt_for_each(const GPtrArray *domains, LibvirtWork work, gpointer data, gint64 limit_usec)
{
    /* Whoever hangs goes on using them: in that case nothing is freed. */
    Each *each = g_new0(Each, 1);
    EachDomain *all = g_new0(EachDomain, MAX(domains->len, 1));
    GThreadPool *pool = g_thread_pool_new(each_work, NULL, THREADS, FALSE, NULL);
    gint64 end = g_get_monotonic_time() + limit_usec;
    bool in_time = true;

    *each = (Each){.work = work, .data = data, .left = domains->len};
    g_mutex_init(&each->lock);
    g_cond_init(&each->done);
    for (guint i = 0; i < domains->len; i++) {
        all[i] = (EachDomain){.domain = domains->pdata[i], .each = each};
        (void)virDomainRef(all[i].domain);
        (void)g_thread_pool_push(pool, &all[i], NULL);
    }
    g_mutex_lock(&each->lock);
    while (each->left > 0 && in_time)
        in_time = g_cond_wait_until(&each->done, &each->lock, end);
    unsigned failed = each->failed + each->left;
    for (guint i = 0; i < domains->len && each->left > 0; i++)
        if (!all[i].done)
            (void)verb_fail("domain '%s' does not answer", virDomainGetName(all[i].domain));
    bool over = each->left == 0;
    g_mutex_unlock(&each->lock);
    g_thread_pool_free(pool, TRUE, over);
    if (!over) {
        verbs_thread_left = true;
        return failed;
    }
    for (guint i = 0; i < domains->len; i++)
        (void)virDomainFree(all[i].domain);
    g_mutex_clear(&each->lock);
    g_cond_clear(&each->done);
    g_free(all);
    g_free(each);
    return failed;
}
