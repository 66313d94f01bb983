/* The small verbs: stop, list, stats, balloon, version. Each takes argv[0] as its own name and gives the exit code. */
#ifndef VMSUP_SUPERVISOR_VERBS_H
#define VMSUP_SUPERVISOR_VERBS_H

int stop_main(int argc, char **argv);
int list_main(int argc, char **argv);
int stats_main(int argc, char **argv);
int balloon_main(int argc, char **argv);
int version_main(int argc, char **argv);

#endif
