/*
 * The guest's console: with a VM in the foreground, standard input goes to the plugin's descriptor 0 and its descriptor 1 to standard
 * output. The plugin never holds the terminal itself. A terminal is put into raw mode and put back by console_end(); in it, control-]
 * asks for the VM to be stopped. In the background of a shell nothing is read from the terminal, and its mode stays. Nothing here blocks.
 */
#ifndef VMSUP_SUPERVISOR_CONSOLE_H
#define VMSUP_SUPERVISOR_CONSOLE_H

#include "supervisor/pump.h"

#include <stdbool.h>
#include <termios.h>

#define CONSOLE_ESCAPE 0x1d /* control-] */
/* What the plugin wrote before it died is shown, as much as a pipe holds, where it is taken at once. */
#define CONSOLE_DRAIN_MAX (64 * 1024)

typedef void console_escape(void *context);
/* The plugin has written something, which comes to standard output next. */
typedef void console_output(void *context);

struct console {
    int to_plugin, from_plugin; /* owned */
    struct pump in, out;
    bool raw;
    struct termios before;
    console_escape *escape;
    console_output *output;
    void *context;
};

/* Takes over both descriptors, also where it fails. 0 or a negative errno. */
int console_begin(struct console *console, struct loop *loop, int to_plugin, int from_plugin, console_escape *escape,
                  console_output *output, void *context);

/* Shows what is left, and gives the terminal back. May be called twice. */
void console_end(struct console *console);

#endif
