/*
 * The smallest plugin that the bench's guest can do with: makes it, runs it to its first exit, says when main and that exit were, and ends.
 * "start_plugin idle" first waits for the end of its standard input.
 */
#include "machine.h"
#include "rounds.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
    uint64_t at_main = bench_now();
    struct vmsup *vm;
    struct vmsup_vcpu *vcpu;
    struct vmsup_vcpu_event event;
    char byte;

    machine_check(vmsup_connect(&vm), "connect");
    machine_make(vm);
    machine_check(vmsup_get_vcpu(vm, 0, &vcpu), "get_vcpu");
    machine_check(vmsup_start(vm), "start");
    machine_enter(vcpu);
    machine_check(vmsup_vcpu_wait(vcpu, &event), "wait");
    printf("main\t%lu\nfirst exit\t%lu\n", at_main, bench_now());
    fflush(stdout);
    if (argc > 1 && strcmp(argv[1], "idle") == 0)
        while (read(STDIN_FILENO, &byte, 1) > 0)
            continue;
    return 0;
}
