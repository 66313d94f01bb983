#include "supervisor/microvm.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The two words of --memory, --cmdline, --vsock and each disk, --net, the admin's, and NULL. */
static size_t
count_max(const struct options *options)
{
    return 2 * (3 + options->disk_count) + 1 + options->argument_count + 1;
}

struct list {
    char **word;
    size_t count;
    bool failed;
};

static void __attribute__((format(printf, 2, 3)))
add(struct list *list, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&list->word[list->count], format, arguments) < 0)
        list->failed = true;
    else
        list->count++;
    va_end(arguments);
}

static void
add_disks(struct list *list, const struct options *options)
{
    for (size_t i = 0; i < options->grant_count; i++) {
        const struct options_grant *grant = &options->grants[i];

        if (strcmp(grant->option, "--disk") != 0)
            continue;
        add(list, "--disk");
        add(list, "%s%s%s", grant->name, grant->flags != NULL ? "," : "", grant->flags != NULL ? grant->flags : "");
    }
}

char **
microvm_arguments(const struct options *options)
{
    struct list list = { .word = calloc(count_max(options), sizeof *list.word) };

    if (list.word == NULL)
        return NULL;
    if (options->machine_memory != 0) {
        add(&list, "--memory");
        add(&list, "%" PRIu64, options->machine_memory);
    }
    if (options->command_line != NULL) {
        add(&list, "--cmdline");
        add(&list, "%s", options->command_line);
    }
    add_disks(&list, options);
    if (options->has_network && options->net_queues > 1)
        add(&list, "--net=queues=%u", options->net_queues);
    else if (options->has_network)
        add(&list, "--net");
    if (options->vsock_cid != 0) {
        add(&list, "--vsock");
        add(&list, "%" PRIu32, options->vsock_cid);
    }
    for (size_t i = 0; i < options->argument_count; i++)
        add(&list, "%s", options->arguments[i]);
    if (!list.failed)
        return list.word;
    microvm_free(list.word);
    return NULL;
}

void
microvm_free(char **arguments)
{
    for (size_t i = 0; arguments != NULL && arguments[i] != NULL; i++)
        free(arguments[i]);
    free(arguments);
}
