/* Main requests of a real vmproc: what each answers, and every errno of the interface. */
#include "tests/unit/vmproc_driver.h"

#include "vmproc/limits.h"

#include <sys/eventfd.h>
#include <sys/stat.h>

#define SEALS F_SEAL_SHRINK

static int
create_memory(struct driver *driver, uint32_t id, int memfd, uint64_t offset, uint64_t start, uint64_t length)
{
    return driver_create_memory(driver, id, memfd,
                                &(MainRequest__Create__Memory){ .offset = offset, .start = start, .length = length });
}

static void
test_memory_errors(void **state)
{
    int memfd = driver_make_memfd(4 * PAGE, SEALS), unsealed = driver_make_memfd(PAGE, 0),
        grow = driver_make_memfd(PAGE, F_SEAL_GROW);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), event = eventfd(0, EFD_CLOEXEC),
        file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int path = open("/dev/shm", O_PATH | O_CLOEXEC);
    const uint64_t high = UINT64_MAX - PAGE + 1;
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(create_memory(&driver, 1, -1, 0, 0, PAGE), EBADF);
    assert_int_equal(create_memory(&driver, 1, null, 0, 0, PAGE), EINVAL);
    assert_int_equal(create_memory(&driver, 1, event, 0, 0, PAGE), EINVAL);
    assert_int_equal(create_memory(&driver, 1, file, 0, 0, PAGE), EINVAL);
    assert_int_not_equal(create_memory(&driver, 1, path, 0, 0, PAGE), 0);
    assert_int_equal(create_memory(&driver, 1, unsealed, 0, 0, PAGE), EPERM);
    assert_int_equal(create_memory(&driver, 1, grow, 0, 0, PAGE), EPERM);
    assert_int_equal(create_memory(&driver, 1, memfd, 0, 0, 0), EINVAL);
    assert_int_equal(create_memory(&driver, 1, memfd, 0, 0, PAGE + 1), EINVAL);
    assert_int_equal(create_memory(&driver, 1, memfd, 1, 0, PAGE), EINVAL);
    assert_int_equal(create_memory(&driver, 1, memfd, 0, 0x800, PAGE), EINVAL);
    assert_int_equal(create_memory(&driver, 1, memfd, 0, 0, 5 * PAGE), EINVAL);
    assert_int_equal(create_memory(&driver, 1, memfd, 4 * PAGE, 0, PAGE), EINVAL);
    assert_int_equal(create_memory(&driver, 1, memfd, high, 0, 2 * PAGE), EOVERFLOW);
    assert_int_equal(create_memory(&driver, 1, memfd, 0, high, 2 * PAGE), EOVERFLOW);
    assert_int_equal(create_memory(&driver, 1, memfd, 0, 0x10000, 2 * PAGE), 0);
    assert_int_equal(create_memory(&driver, 1, memfd, 0, 0x20000, PAGE), EEXIST);
    assert_int_equal(create_memory(&driver, 2, memfd, 0, 0x11000, PAGE), EEXIST);
    assert_int_equal(create_memory(&driver, 2, memfd, 0, 0xf000, 2 * PAGE), EEXIST);
    assert_int_equal(create_memory(&driver, 2, memfd, 2 * PAGE, 0x12000, 2 * PAGE), 0);
    assert_int_equal(driver_destroy_object(&driver, 1), 0);
    assert_int_equal(driver_destroy_object(&driver, 1), ENOENT);
    assert_int_equal(create_memory(&driver, 0, memfd, 0, 0x10000, PAGE), 0);
    /* The object 0: its id is left out on the wire. */
    assert_int_equal(driver_destroy_object(&driver, 0), 0);
    fd_close(&memfd);
    fd_close(&unsealed);
    fd_close(&grow);
    fd_close(&null);
    fd_close(&event);
    fd_close(&file);
    fd_close(&path);
    driver_stop(&driver);
}

static void
test_slots_and_memory_are_limited_and_reused(void **state)
{
    int memfd = driver_make_memfd((LIMIT_MEMORY_SLOTS + 1) * PAGE, SEALS);
    struct driver driver;
    uint32_t count = 0;

    (void)state;
    driver_start_with(&driver, &(struct driver_options){ .cpus = 1, .memory_limit = 8 * PAGE, .tap = -1 });
    assert_int_equal(create_memory(&driver, 1, memfd, 0, 0, 9 * PAGE), ENOMEM);
    assert_int_equal(create_memory(&driver, 1, memfd, 0, 0, 8 * PAGE), 0);
    assert_int_equal(create_memory(&driver, 2, memfd, 0, 0x100000, PAGE), ENOMEM);
    assert_int_equal(driver_destroy_object(&driver, 1), 0);
    for (int round = 0; round < 2000; round++) {
        assert_int_equal(create_memory(&driver, 2, memfd, 0, 0x100000, PAGE), 0);
        assert_int_equal(driver_destroy_object(&driver, 2), 0);
    }
    driver_stop(&driver);
    driver_start(&driver, 1);
    while (count <= LIMIT_MEMORY_SLOTS && create_memory(&driver, count, memfd, count * PAGE, count * PAGE, PAGE) == 0)
        count++;
    assert_int_equal(count, LIMIT_MEMORY_SLOTS);
    assert_int_equal(create_memory(&driver, count, memfd, 0, 0x10000000, PAGE), ENOSPC);
    assert_int_equal(driver_destroy_object(&driver, 7), 0);
    assert_int_equal(create_memory(&driver, count, memfd, 0, 0x10000000, PAGE), 0);
    fd_close(&memfd);
    driver_stop(&driver);
}

static void
test_range_errors(void **state)
{
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x60, 0, false), ENOENT);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x60, 4, false), 0);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x63, 1, true), EPERM);
    assert_int_equal(driver_reserve(&driver, MMIO, 0x63, 1, true), 0);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x61, 0, false), ENOENT);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x60, 0, false), 0);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x63, 1, true), 0);
    assert_int_equal(driver_reserve(&driver, MMIO, UINT64_MAX, 1, false), EINVAL);
    assert_int_equal(driver_reserve(&driver, MMIO, 1, UINT64_MAX, false), EINVAL);
    assert_int_equal(driver_reserve(&driver, (AddressSpace)2, 0, 1, false), EINVAL);
    assert_int_equal(driver_reserve(&driver, (AddressSpace)-1, 0, 1, false), EINVAL);
    driver_stop(&driver);
}

static void
test_hint_errors(void **state)
{
    MainRequest__SetCallHint hint = MAIN_REQUEST__SET_CALL_HINT__INIT;
    MainRequest__SetCallHint__RegHint detail = MAIN_REQUEST__SET_CALL_HINT__REG_HINT__INIT, *details[33];
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    for (size_t i = 0; i < 33; i++)
        details[i] = &detail;
    hint.hints = details;
    hint.address = 1;
    hint.n_hints = 32;
    assert_int_equal(driver_call(&driver, REQUEST(SET_CALL_HINT, &hint), NULL), 0);
    hint.n_hints = 33;
    assert_int_equal(driver_call(&driver, REQUEST(SET_CALL_HINT, &hint), NULL), EINVAL);
    hint.n_hints = 0;
    hint.space = (AddressSpace)2;
    assert_int_equal(driver_call(&driver, REQUEST(SET_CALL_HINT, &hint), NULL), EINVAL);
    driver_stop(&driver);
}

static void
test_extensions_cpuid_msr_list(void **state)
{
    MainRequest__CheckExtension check = MAIN_REQUEST__CHECK_EXTENSION__INIT;
    const MainResponse *response;
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm = ioctl(kvm, KVM_CREATE_VM, 0);
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    for (check.extension = 0; check.extension < 250; check.extension++) {
        assert_int_equal(driver_call(&driver, REQUEST(CHECK_EXTENSION, &check), &response), 0);
        assert_int_equal(response->check_extension->has_extension,
                         ioctl(vm, KVM_CHECK_EXTENSION, check.extension) == 1);
    }
    check.extension = UINT32_MAX;
    assert_int_equal(driver_call(&driver, REQUEST(CHECK_EXTENSION, &check), &response), 0);
    assert_false(response->check_extension->has_extension);
    assert_int_equal(driver_call(&driver, EMPTY_REQUEST(GET_SUPPORTED_CPUID, cpuid_request), &response), 0);
    assert_true(response->get_supported_cpuid->n_entries > 10);
    assert_int_equal(response->get_supported_cpuid->entries[0]->function, 0);
    assert_int_equal(driver_call(&driver, EMPTY_REQUEST(GET_EMULATED_CPUID, cpuid_request), &response), 0);
    assert_true(response->get_emulated_cpuid->n_entries > 0);
    assert_int_equal(driver_call(&driver, EMPTY_REQUEST(GET_MSR_INDEX_LIST, msr_list_request), &response), 0);
    assert_true(response->get_msr_index_list->n_indices > 10);
    fd_close(&vm);
    fd_close(&kvm);
    driver_stop(&driver);
}

static int
get_state(struct driver *driver, MainRequest__StateSet set, void *buffer, size_t size)
{
    MainRequest__GetState get = MAIN_REQUEST__GET_STATE__INIT;
    const MainResponse *response;
    int error;

    get.set = set;
    error = driver_call(driver, REQUEST(GET_STATE, &get), &response);
    if (error == 0) {
        assert_int_equal(response->get_state->state.len, size);
        memcpy(buffer, response->get_state->state.data, size);
    }
    return error;
}

static int
set_state(struct driver *driver, MainRequest__StateSet set, const void *buffer, size_t size)
{
    MainRequest__SetState request = MAIN_REQUEST__SET_STATE__INIT;

    request.set = set;
    request.state.data = (uint8_t *)(uintptr_t)buffer;
    request.state.len = size;
    return driver_call(driver, REQUEST(SET_STATE, &request), NULL);
}

static void
test_device_state(void **state)
{
    struct kvm_pic_state pic;
    struct kvm_ioapic_state ioapic;
    struct kvm_pit_state2 pit;
    struct kvm_clock_data clock, later;
    uint8_t any[1024] = { 0 };
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    for (int chip = 0; chip < 2; chip++) {
        MainRequest__StateSet set = chip == 0 ? MAIN_REQUEST__STATE_SET__PIC0 : MAIN_REQUEST__STATE_SET__PIC1;

        assert_int_equal(get_state(&driver, set, &pic, sizeof pic), 0);
        pic.imr = (uint8_t)(0x50 + chip);
        assert_int_equal(set_state(&driver, set, &pic, sizeof pic), 0);
    }
    assert_int_equal(get_state(&driver, MAIN_REQUEST__STATE_SET__PIC0, &pic, sizeof pic), 0);
    assert_int_equal(pic.imr, 0x50);
    assert_int_equal(get_state(&driver, MAIN_REQUEST__STATE_SET__PIC1, &pic, sizeof pic), 0);
    assert_int_equal(pic.imr, 0x51);
    assert_int_equal(get_state(&driver, MAIN_REQUEST__STATE_SET__IOAPIC, &ioapic, sizeof ioapic), 0);
    ioapic.redirtbl[3].fields.vector = 0x77;
    assert_int_equal(set_state(&driver, MAIN_REQUEST__STATE_SET__IOAPIC, &ioapic, sizeof ioapic), 0);
    memset(&ioapic, 0, sizeof ioapic);
    assert_int_equal(get_state(&driver, MAIN_REQUEST__STATE_SET__IOAPIC, &ioapic, sizeof ioapic), 0);
    assert_int_equal(ioapic.redirtbl[3].fields.vector, 0x77);
    assert_int_equal(get_state(&driver, MAIN_REQUEST__STATE_SET__PIT, &pit, sizeof pit), 0);
    pit.channels[0].mode = 2;
    pit.channels[0].count = 0x1234;
    assert_int_equal(set_state(&driver, MAIN_REQUEST__STATE_SET__PIT, &pit, sizeof pit), 0);
    assert_int_equal(get_state(&driver, MAIN_REQUEST__STATE_SET__PIT, &pit, sizeof pit), 0);
    assert_int_equal(pit.channels[0].count, 0x1234);
    assert_int_equal(get_state(&driver, MAIN_REQUEST__STATE_SET__CLOCK, &clock, sizeof clock), 0);
    memset(&later, 0, sizeof later);
    later.clock = clock.clock + 3600ULL * 1000000000;
    assert_int_equal(set_state(&driver, MAIN_REQUEST__STATE_SET__CLOCK, &later, sizeof later), 0);
    assert_int_equal(get_state(&driver, MAIN_REQUEST__STATE_SET__CLOCK, &clock, sizeof clock), 0);
    assert_true(clock.clock >= later.clock);
    assert_int_equal(set_state(&driver, MAIN_REQUEST__STATE_SET__PIC0, any, sizeof pic - 1), EINVAL);
    assert_int_equal(set_state(&driver, MAIN_REQUEST__STATE_SET__PIT, any, sizeof pit + 1), EINVAL);
    assert_int_equal(set_state(&driver, MAIN_REQUEST__STATE_SET__CLOCK, any, 0), EINVAL);
    assert_int_equal(set_state(&driver, (MainRequest__StateSet)5, any, 8), EINVAL);
    assert_int_equal(get_state(&driver, (MainRequest__StateSet)5, any, 8), EINVAL);
    assert_int_equal(get_state(&driver, (MainRequest__StateSet)-3, any, 8), EINVAL);
    driver_stop(&driver);
}

static void
test_identity_map_address_before_the_vcpus_only(void **state)
{
    MainRequest__SetIdentityMapAddr set = MAIN_REQUEST__SET_IDENTITY_MAP_ADDR__INIT;
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    set.address = 0xfeffc000;
    assert_int_equal(driver_call(&driver, REQUEST(SET_IDENTITY_MAP_ADDR, &set), NULL), 0);
    assert_int_equal(driver_start_vm(&driver), 0);
    assert_int_equal(driver_call(&driver, REQUEST(SET_IDENTITY_MAP_ADDR, &set), NULL), EINVAL);
    driver_stop(&driver);
}

static void
test_routing(void **state)
{
    MainRequest__SetIrqRouting routing = MAIN_REQUEST__SET_IRQ_ROUTING__INIT;
    MainRequest__SetIrqRouting__Route route[3], *routes[3] = { &route[0], &route[1], &route[2] };
    MainRequest__SetIrqRouting__Route__Irqchip irqchip = MAIN_REQUEST__SET_IRQ_ROUTING__ROUTE__IRQCHIP__INIT;
    MainRequest__SetIrqRouting__Route__Msi msi = MAIN_REQUEST__SET_IRQ_ROUTING__ROUTE__MSI__INIT;
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    for (size_t i = 0; i < 3; i++)
        main_request__set_irq_routing__route__init(&route[i]);
    irqchip.irqchip = 2;
    irqchip.pin = 4;
    msi.address = 0xfee00000;
    msi.data = 0x41;
    route[0].irq_id = 4;
    route[0].route_case = MAIN_REQUEST__SET_IRQ_ROUTING__ROUTE__ROUTE_IRQCHIP;
    route[0].irqchip = &irqchip;
    route[1].irq_id = 24;
    route[1].route_case = MAIN_REQUEST__SET_IRQ_ROUTING__ROUTE__ROUTE_MSI;
    route[1].msi = &msi;
    routing.routes = routes;
    routing.n_routes = 2;
    assert_int_equal(driver_call(&driver, REQUEST(SET_IRQ_ROUTING, &routing), NULL), 0);
    /* A route without its oneof. */
    routing.n_routes = 3;
    assert_int_equal(driver_call(&driver, REQUEST(SET_IRQ_ROUTING, &routing), NULL), EINVAL);
    routing.n_routes = 1;
    irqchip.irqchip = 9;
    assert_int_equal(driver_call(&driver, REQUEST(SET_IRQ_ROUTING, &routing), NULL), EINVAL);
    irqchip.irqchip = 2;
    route[0].irq_id = LIMIT_GSI;
    assert_int_equal(driver_call(&driver, REQUEST(SET_IRQ_ROUTING, &routing), NULL), EINVAL);
    routing.n_routes = 0;
    assert_int_equal(driver_call(&driver, REQUEST(SET_IRQ_ROUTING, &routing), NULL), 0);
    driver_stop(&driver);
}

static void
test_net_config(void **state)
{
    int tap = open("/dev/null", O_RDWR | O_CLOEXEC);
    static const uint8_t mac[] = { 0xde, 0x21, 0xe8, 0x47, 0x6b, 0x6a }, host[] = { 10, 118, 0, 1 },
                         netmask[] = { 255, 255, 255, 252 };
    const MainResponse *response;
    struct message_fds fds;
    struct driver driver;
    struct stat ours, theirs;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(driver_call(&driver, EMPTY_REQUEST(GET_NET_CONFIG, get_net_config), NULL), ENODATA);
    driver_stop(&driver);
    driver_start_with(&driver, &(struct driver_options){ .cpus = 1, .memory_limit = PAGE, .tap = tap });
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            driver_call_fds(&driver, EMPTY_REQUEST(GET_NET_CONFIG, get_net_config), NULL, 0, &response, &fds), 0);
        assert_int_equal(fds.count, 1);
        assert_int_equal(response->get_net_config->host_mac_address.len, sizeof mac);
        assert_memory_equal(response->get_net_config->host_mac_address.data, mac, sizeof mac);
        assert_memory_equal(&response->get_net_config->host_ipv4_address, host, 4);
        assert_memory_equal(&response->get_net_config->netmask, netmask, 4);
        assert_int_equal(fstat(fds.fd[0], &theirs), 0);
        assert_int_equal(fstat(tap, &ours), 0);
        assert_int_equal(theirs.st_rdev, ours.st_rdev);
        message_close_fds(&fds);
    }
    fd_close(&tap);
    driver_stop(&driver);
}

static void
test_get_vcpus_gives_the_same_pipes_again(void **state)
{
    struct message_fds first, second;
    struct stat one, other;
    struct driver driver;

    (void)state;
    driver_start(&driver, DRIVER_VCPUS_MAX);
    assert_int_equal(driver_call_fds(&driver, EMPTY_REQUEST(GET_VCPUS, get_vcpus), NULL, 0, NULL, &first), 0);
    assert_int_equal(driver_call_fds(&driver, EMPTY_REQUEST(GET_VCPUS, get_vcpus), NULL, 0, NULL, &second), 0);
    assert_int_equal(first.count, 2 * DRIVER_VCPUS_MAX);
    assert_int_equal(second.count, 2 * DRIVER_VCPUS_MAX);
    for (size_t i = 0; i < first.count; i++) {
        assert_int_equal(fstat(first.fd[i], &one), 0);
        assert_int_equal(fstat(second.fd[i], &other), 0);
        assert_true(S_ISFIFO(one.st_mode));
        assert_int_equal(one.st_ino, other.st_ino);
    }
    message_close_fds(&first);
    message_close_fds(&second);
    driver_stop(&driver);
}

static void
test_a_large_dirty_log_fits(void **state)
{
    /* 4 GiB: a bitmap of 128 KiB; memfds take no memory before they are touched. */
    const uint64_t size = 4ULL << 30, too_large = 12ULL << 30;
    int memfd = driver_make_memfd(too_large, SEALS);
    MainRequest__MemoryDirtyLog request = MAIN_REQUEST__MEMORY_DIRTY_LOG__INIT;
    const MainResponse *response;
    struct driver driver;

    (void)state;
    driver_start_with(&driver, &(struct driver_options){ .cpus = 1, .memory_limit = 2 * too_large, .tap = -1 });
    request.id = 1;
    assert_int_equal(
        driver_create_memory(&driver, 1, memfd, &(MainRequest__Create__Memory){ .length = size, .dirty_log = true }),
        0);
    assert_int_equal(driver_call(&driver, REQUEST(DIRTY_LOG, &request), &response), 0);
    assert_int_equal(response->dirty_log->bitmap.len, size / PAGE / 8);
    assert_int_equal(driver_create_memory(
                         &driver, 2, memfd,
                         &(MainRequest__Create__Memory){ .start = 1ULL << 33, .length = too_large, .dirty_log = true }),
                     0);
    request.id = 2;
    assert_int_equal(driver_call(&driver, REQUEST(DIRTY_LOG, &request), &response), E2BIG);
    fd_close(&memfd);
    driver_stop(&driver);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_errors),
        cmocka_unit_test(test_slots_and_memory_are_limited_and_reused),
        cmocka_unit_test(test_range_errors),
        cmocka_unit_test(test_hint_errors),
        cmocka_unit_test(test_extensions_cpuid_msr_list),
        cmocka_unit_test(test_device_state),
        cmocka_unit_test(test_identity_map_address_before_the_vcpus_only),
        cmocka_unit_test(test_routing),
        cmocka_unit_test(test_net_config),
        cmocka_unit_test(test_get_vcpus_gives_the_same_pipes_again),
        cmocka_unit_test(test_a_large_dirty_log_fits),
    };

    if (!driver_can_run()) {
        fputs("SKIP: no /dev/kvm\n", stderr);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
