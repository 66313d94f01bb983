/*
 * The way into a jail, as the child goes it: the steps of enter.c and what they call. Internal to jail/. Each step gives 0 or a negative
 * errno; the step that failed is named by jail_child_run(), which tells the parent. Nothing is undone here: the child dies, and with it all
 * that it had made.
 */
#ifndef VMSUP_JAIL_CHILD_H
#define VMSUP_JAIL_CHILD_H

#include "jail/jail.h"

#define CHILD_STEP_MAX 160

/* What the child tells the parent, a datagram each. */
enum child_word {
    CHILD_WANTS_MAPS, /* its user namespace exists: the parent writes the maps and answers with one byte */
    CHILD_IS_BOUND,   /* its parent's death would be its own from here on: a parent that lives answers with one byte */
    CHILD_LISTENER,   /* comes with the listener of the filter */
    CHILD_EXECUTES,   /* the next thing is execveat(2): whatever ends the process after that is its program's affair */
    CHILD_FAILED,
};

struct child_report {
    enum child_word word;
    int error; /* a positive errno */
    char step[CHILD_STEP_MAX];
};

struct child {
    const struct jail *jail;
    struct jail_terms terms;       /* of zeros until they are heard */
    struct policy_program program; /* what the terms' points to */
    int socket; /* to the parent, who alone has the other end; close-on-exec */
    int executable;
    char step[CHILD_STEP_MAX]; /* what is being done, for the report */
};

/* Names the step that comes. */
void child_begin(struct child *child, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says a word and waits for the parent's answer. -EPIPE where there is no parent any more. */
int child_ask(struct child *child, enum child_word word);

/* terms.c: the parent's side, which does not wait, and the child's, which does: -EPIPE where there is no parent any more. */
int terms_send(int socket, const struct jail_terms *terms);
int terms_hear(struct child *child);

/* Goes all the way; returns only where something failed. */
void child_run(struct child *child);

/*
 * mounts.c: builds the room and makes the tmpfs that it stands in the root; then the room is given to whom it is for; then, once the user
 * namespace is entered (the kernel would refuse it afterwards), the room becomes the process's root.
 */
int mounts_enter(struct child *child);
int mounts_give_room(const struct child *child);
int mounts_close_room(void);

/* ids.c */
int ids_enter_user_namespace(struct child *child);
int ids_drop_bounding_set(void);
int ids_lock_securebits(void);
int ids_change(const struct child *child);
int ids_drop_capabilities(void);
int ids_prove_dropped(const struct child *child);
/* The parent's side: writes the process's maps. */
int ids_write_maps(const struct jail_start *start);

/* limits.c */
int limits_set(const struct jail *jail);

/*
 * descriptors.c. First, all goes that is neither in the description nor held by `child`: locks of the parent's, which a child that is
 * long in dying would hold. At the end those of the description have their numbers, and what came in between goes, too.
 */
int descriptors_shed(const struct child *child);
int descriptors_arrange(struct child *child);

/* filter.c: loads it; the listener, if one, goes to the parent. From then on the key lets the two calls through that are still needed. */
int filter_load(struct child *child);
long filter_send(struct child *child, const struct child_report *report, int fd);
long filter_exec(struct child *child);

#endif
