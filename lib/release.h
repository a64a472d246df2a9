/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* An operator's word that a guest may be moved for some time, whatever it runs. */
typedef struct Release {
    guint64 until; /* CLOCK_REALTIME, microseconds */
    int id;        /* libvirt's number of the run that it is for */
    char *by;      /* who gave it */
    char *reason;  /* in the operator's words; may be "" */
} Release;

Release *release_new(guint64 until, int id, const char *by, const char *reason);
Release *release_free(Release *release);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Release, release_free)

bool release_save(const Release *release, const char *path, GError **error);
Release *release_load(const char *path);
