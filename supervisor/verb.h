/*
 * What the small verbs share: how the VM that they are about is named on the command line, why its supervisor could not be asked, and the
 * end of what they print. Each says by itself what is wrong, on a line of the log, and gives the exit code.
 */
#ifndef VMSUP_SUPERVISOR_VERB_H
#define VMSUP_SUPERVISOR_VERB_H

struct verb_target {
    const char *base; /* the folder of all runtime folders */
    const char *name;
};

/*
 * [--runtime-dir DIR] NAME, and `more` arguments at most; `usage` is what is said of any others. EX_OK with *target, whose strings are
 * argv's, and with the first further argument in *rest, or NULL there; or EX_USAGE.
 */
int verb_parse(int argc, char **argv, int more, const char *usage, struct verb_target *target, const char **rest);

/* EX_OK, or EX_USAGE where no VM can have that name. */
int verb_check_name(const char *name);

/* `error` is a positive errno, of admin_ask() or in its answer. */
int verb_explain(const char *name, int error);

/* Standard output is written to its end: EX_OK or EX_IOERR. */
int verb_end_output(void);

#endif
