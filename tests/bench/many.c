/*
 * A plugin whose guest's vCPUs all read a port as fast as they can, each answered by a thread of its own: prints "exits a second" for all
 * of them together. usage: many VCPUS
 */
#include "machine.h"
#include "rounds.h"

#include <err.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define VCPUS_MAX 16
#define EXITS 30000

static struct vmsup *vm;
static pthread_barrier_t all_there;

static void *
answer(void *context)
{
    struct vmsup_vcpu *vcpu = context;
    struct bench_rounds rounds = { 0 };
    struct vmsup_vcpu_event event;

    machine_enter(vcpu);
    machine_check(vmsup_vcpu_wait(vcpu, &event), "wait");
    pthread_barrier_wait(&all_there);
    /* In one round of the first work, which never ends. */
    for (int i = 0; i < EXITS; i++) {
        bench_access(&rounds, event.io_access.address, event.io_access.is_write, event.io_access.data, event.io_access.length);
        rounds.round = 0;
        machine_check(vmsup_vcpu_resume(vcpu), "resume");
        machine_check(vmsup_vcpu_wait(vcpu, &event), "wait");
    }
    pthread_barrier_wait(&all_there);
    return NULL;
}

int
main(int argc, char **argv)
{
    const unsigned vcpus = argc == 2 ? (unsigned)atoi(argv[1]) : 0;
    pthread_t thread[VCPUS_MAX];
    struct vmsup_vcpu *vcpu;
    uint64_t began;

    if (vcpus == 0 || vcpus > VCPUS_MAX)
        errx(64, "usage: many VCPUS");
    machine_check(vmsup_connect(&vm), "connect");
    machine_make(vm);
    pthread_barrier_init(&all_there, NULL, vcpus + 1);
    for (unsigned i = 0; i < vcpus; i++) {
        machine_check(vmsup_get_vcpu(vm, i, &vcpu), "get_vcpu");
        if (pthread_create(&thread[i], NULL, answer, vcpu) != 0)
            errx(1, "a thread");
    }
    machine_check(vmsup_start(vm), "start");
    pthread_barrier_wait(&all_there);
    began = bench_now();
    pthread_barrier_wait(&all_there);
    printf("exits a second\t%.0f\n", vcpus * EXITS * 1e9 / (double)(bench_now() - began));
    return 0;
}
