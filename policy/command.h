/* What `vmsup policy` is made of besides policy_main(). Internal to policy/. */
#ifndef VMSUP_POLICY_COMMAND_H
#define VMSUP_POLICY_COMMAND_H

/*
 * Runs a program under ptrace(2), its threads and children too, and prints the policy that it needs on standard output. Gives the
 * program's exit code, or 128 and the number of the signal that it died of; EX_UNAVAILABLE where it cannot be run or traced.
 */
int trace_program(char **argv);

#endif
