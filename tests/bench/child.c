#include "child.h"

#include <ctype.h>
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE_MAX_BYTES 256

void
child_pin(pid_t task, int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(task, sizeof set, &set) < 0)
        err(1, "pinning task %d to CPU %d", task, cpu);
}

struct child
child_run(char *const argv[], int cpu)
{
    struct child child;
    int in[2], out[2];

    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
        err(1, "pipe");
    child.pid = fork();
    if (child.pid < 0)
        err(1, "fork");
    if (child.pid == 0) {
        if (cpu != CHILD_ANY_CPU)
            child_pin(0, cpu);
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execv(argv[0], argv);
        err(127, "%s", argv[0]);
    }
    close(in[0]);
    close(out[1]);
    child.in = fdopen(in[1], "w");
    child.out = fdopen(out[0], "r");
    if (child.in == NULL || child.out == NULL)
        err(1, "fdopen");
    return child;
}

void
child_end(struct child *child)
{
    int status;

    fclose(child->in);
    fclose(child->out);
    if (waitpid(child->pid, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        errx(1, "a measured program failed: status %#x", (unsigned)status);
}

long
child_read_number(const char *path, const char *name)
{
    char line[LINE_MAX_BYTES];
    FILE *file = fopen(path, "re");
    long number = -1;

    if (file == NULL)
        return -1;
    while (number < 0 && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            number = strtol(line + strlen(name), NULL, 10);
    fclose(file);
    return number;
}

/* The supervisor's two children, told apart by their names. */
struct vm_processes
child_find_vm(pid_t supervisor)
{
    struct vm_processes found = { .pid = { supervisor } };
    DIR *proc = opendir("/proc");
    struct dirent *entry;

    while (proc != NULL && (entry = readdir(proc)) != NULL) {
        char path[PATH_MAX], comm[LINE_MAX_BYTES] = "";
        FILE *file;

        snprintf(path, sizeof path, "/proc/%s/status", entry->d_name);
        if (!isdigit((unsigned char)entry->d_name[0]) || child_read_number(path, "PPid:") != supervisor)
            continue;
        snprintf(path, sizeof path, "/proc/%s/comm", entry->d_name);
        file = fopen(path, "re");
        if (file == NULL)
            continue;
        if (fgets(comm, sizeof comm, file) == NULL)
            comm[0] = '\0';
        fclose(file);
        found.pid[strcmp(comm, "vmproc\n") == 0 ? 1 : 2] = (pid_t)atol(entry->d_name);
    }
    if (proc != NULL)
        closedir(proc);
    if (found.pid[1] == 0 || found.pid[2] == 0)
        errx(1, "the VM's processes were not found");
    return found;
}
