#include "supervisor/console.h"

#include "common/fd.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static size_t
look_for_escape(void *context, char *data, size_t size)
{
    struct console *console = context;
    const char *found = console->raw ? memchr(data, CONSOLE_ESCAPE, size) : NULL;

    if (found == NULL)
        return size;
    console->escape(console->context);
    return (size_t)(found - data);
}

static size_t
tell_output(void *context, char *data, size_t size)
{
    struct console *console = context;

    (void)data;
    console->output(console->context);
    return size;
}

/* The plugin's own reads come to their end, too. */
static void
end_input(void *context)
{
    struct console *console = context;

    pump_stop(&console->in);
    fd_close(&console->to_plugin);
}

static void
make_raw(struct console *console)
{
    struct termios raw;

    if (!isatty(STDIN_FILENO) || tcgetpgrp(STDIN_FILENO) != getpgrp() || tcgetattr(STDIN_FILENO, &console->before) < 0)
        return;
    raw = console->before;
    cfmakeraw(&raw);
    /* What the supervisor says goes to the same terminal, and its lines must begin where lines begin. */
    raw.c_oflag |= OPOST;
    console->raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

int
console_begin(struct console *console, struct loop *loop, int to_plugin, int from_plugin, console_escape *escape,
              console_output *output, void *context)
{
    int result;

    /* In the background of a shell the terminal is somebody else's: reading from it fails, and does not stop the supervisor. */
    signal(SIGTTIN, SIG_IGN);
    signal(SIGTTOU, SIG_IGN);
    *console = (struct console){
        .to_plugin = to_plugin, .from_plugin = from_plugin, .escape = escape, .output = output, .context = context,
    };
    make_raw(console);
    result = fd_set_nonblocking(to_plugin, true);
    if (result == 0)
        result = pump_begin(&console->out, loop, from_plugin, STDOUT_FILENO, tell_output, NULL, console);
    if (result == 0)
        result = pump_begin(&console->in, loop, STDIN_FILENO, to_plugin, look_for_escape, end_input, console);
    if (result < 0)
        console_end(console);
    return result;
}

void
console_end(struct console *console)
{
    if (console->from_plugin >= 0)
        pump_drain(&console->out, CONSOLE_DRAIN_MAX);
    pump_stop(&console->in);
    pump_stop(&console->out);
    fd_close(&console->to_plugin);
    fd_close(&console->from_plugin);
    if (console->raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &console->before);
    console->raw = false;
}
