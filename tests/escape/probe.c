#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct probe_attempt *const tables[] = { probe_files, probe_processes, probe_kernel };

static const struct probe_attempt *
find_attempt(const char *name)
{
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (const struct probe_attempt *each = tables[i]; each->name != NULL; each++)
            if (strcmp(each->name, name) == 0)
                return each;
    return NULL;
}

static void
list_attempts(void)
{
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (const struct probe_attempt *each = tables[i]; each->name != NULL; each++)
            puts(each->name);
}

int
main(int argc, char **argv)
{
    const struct probe_attempt *attempt;
    struct probe_target target = { 0 };
    char line[64];
    int result, length;

    if (argc == 2 && strcmp(argv[1], "list") == 0) {
        list_attempts();
        return 0;
    }
    if (argc != 5 || (attempt = find_attempt(argv[1])) == NULL)
        return 64;
    target.process = (pid_t)atol(argv[2]);
    target.file = argv[3];
    target.key = (int32_t)atol(argv[4]);
    result = attempt->function(&target);
    length = result == 0 ? snprintf(line, sizeof line, "done\n") : snprintf(line, sizeof line, "errno %d\n", -result);
    return write(STDOUT_FILENO, line, (size_t)length) == length ? 0 : 1;
}
