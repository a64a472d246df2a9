/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/* One figure of a benchmark: what virtnest takes against what it cannot do without, from the same run. */
void bench_print_ratio(const char *name, double ours, double bare, const char *unit, double limit);
double bench_median(double *values, gsize n);
double bench_best(const double *values, gsize n);
double bench_cpu_seconds(void);
char *bench_domain_xml(const char *type, unsigned number, gboolean tagged);
